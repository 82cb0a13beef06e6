// Left and right arrow, or Page Up and Page Down, show the screen before and after.
"use strict";

const screens = [...document.querySelectorAll(".screen")];
const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 1, PageUp: -1 };

addEventListener("keydown", (event) => {
  const step = steps[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.key.startsWith("Arrow") && event.target.closest(".box")) return; // a table scrolls
  const now = Math.max(0, screens.findLastIndex((each) => each.getBoundingClientRect().top < innerHeight / 2));
  const { top, bottom } = screens[now].getBoundingClientRect();
  if (event.key.startsWith("Page") && (step > 0 ? bottom > innerHeight + 8 : top < -8)) return; // a long screen scrolls
  event.preventDefault();
  screens[Math.min(Math.max(now + step, 0), screens.length - 1)].scrollIntoView();
});
