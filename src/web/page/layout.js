// Where the bars of a single picture are: beside it, where a phone held sideways or a wide window has room, and otherwise
// over it.

const RAIL_PX = 52; // a button with its margins
const RAIL_MOST_PX = 144; // wider ones would leave the bars far from the picture

/** The width of the two rails beside a picture of `aspect`, in pixels; 0 if there is no room for them. */
export function rail(width, height, aspect) {
  const room = Math.floor((width - height * aspect) / 2);
  return room < RAIL_PX ? 0 : Math.min(room, RAIL_MOST_PX);
}

/** Places the bars in `view` for a picture of that width and height. Without one, they stay. */
export function placeBars(view, picture) {
  if (!(picture?.width && picture.height)) return;
  // Where the picture does not fill the view, rows are above and below it: a phone held upright, or several cameras.
  const fills = getComputedStyle(view.querySelector("#stage")).position === "absolute";
  const width = fills ? rail(view.clientWidth, view.clientHeight, picture.width / picture.height) : 0;
  view.style.setProperty("--rail", `${width}px`);
  document.body.dataset.bars = width ? "beside" : "over";
}
