// Light or dark: as the system is set, unless chosen here. A classic script, so that it runs before anything is drawn.
(function () {
  "use strict";
  var NAMES = { auto: "automatic", light: "light", dark: "dark" };
  var theme = "auto";
  try {
    theme = localStorage.getItem("porthole.theme") || "auto";
  } catch (_) {
    // There is no storage.
  }
  if (!NAMES[theme]) theme = "auto";

  function apply() {
    document.documentElement.dataset.theme = theme;
    var button = document.getElementById("theme");
    if (!button) return;
    button.title = "Colours: " + NAMES[theme];
    button.setAttribute("aria-label", button.title);
    button.querySelector("use").setAttribute("href", "#i-" + theme);
  }

  apply();
  document.addEventListener("DOMContentLoaded", function () {
    apply();
    document.getElementById("theme").addEventListener("click", function () {
      var all = Object.keys(NAMES);
      theme = all[(all.indexOf(theme) + 1) % all.length];
      try {
        localStorage.setItem("porthole.theme", theme);
      } catch (_) {
        // Without storage it lasts until the page is closed.
      }
      apply();
    });
  });
})();
