//! A real browser: headless Chromium, spoken to over the Chrome DevTools Protocol.
