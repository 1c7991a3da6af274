// Addresses. All are relative to the page's own, so that it works under any prefix a proxy puts before it. The page
// itself is at the root, for all cameras, and at cameras/NAME/ for each.

const own = location.pathname.match(/^(.*\/)cameras\/([^/]+)\/[^/]*$/);
const root = new URL(own ? own[1] : location.pathname.replace(/[^/]*$/, ""), location.origin);
// Where cookies are not kept, the token in the page's own address is all there is.
const token = new URLSearchParams(location.search).get("token");

/** Headers that tell the server that a script asks, so that no password prompt comes up in the middle of a picture. */
export const OWN = { "X-Requested-With": "porthole" };

/** The camera that the page's address names, or null. */
export const named = own && decodeURIComponent(own[2]);

/** The address of something of the service, or of one camera. */
export function address(name, camera = null) {
  const url = new URL(camera === null ? name : `cameras/${encodeURIComponent(camera)}/${name}`, root);
  if (token) url.searchParams.set("token", token);
  return url;
}
