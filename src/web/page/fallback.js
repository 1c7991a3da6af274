// For browsers that cannot run the page's modules: the stream as a plain image. Runs after app.js, which says that it is
// ready.
(function () {
  if (document.documentElement.getAttribute("data-ready") === "yes") return;
  var picture = document.createElement("img");
  picture.className = "plain";
  picture.alt = "Live picture";
  picture.src = "stream" + location.search;
  var stage = document.getElementById("stage");
  stage.textContent = "";
  stage.appendChild(picture);
  document.querySelector("#status b").textContent = "Plain stream, as this browser is too old for more";
})();
