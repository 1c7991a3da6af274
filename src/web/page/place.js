// Addresses, relative to that of the page, so that it works behind a proxy that adds a prefix. The page is at the root for
// all cameras, and at cameras/NAME/ for each.

const own = location.pathname.match(/^(.*\/)cameras\/([^/]+)\/[^/]*$/);
const root = new URL(own ? own[1] : location.pathname.replace(/[^/]*$/, ""), location.origin);
// Without cookies, the token in the page's own address is needed.
const token = new URLSearchParams(location.search).get("token");

/** Headers that mark a request as a script's, so that the browser shows no password prompt. */
export const OWN = { "X-Requested-With": "porthole" };

/** The camera that the page's address names, or null. */
export const named = own && decodeURIComponent(own[2]);

/** An address of the service, or of one camera. */
export function address(name, camera = null) {
  const url = new URL(camera === null ? name : `cameras/${encodeURIComponent(camera)}/${name}`, root);
  if (token) url.searchParams.set("token", token);
  return url;
}
