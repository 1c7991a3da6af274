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

  // The browser's own colour above the page, by the media query of each element.
  var GROUNDS = document.querySelectorAll('meta[name="theme-color"]');
  var grounds = { light: GROUNDS[0].content, dark: GROUNDS[1].content };

  function apply() {
    document.documentElement.dataset.theme = theme;
    GROUNDS[0].content = grounds[theme] || grounds.light;
    GROUNDS[1].content = grounds[theme] || grounds.dark;
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
