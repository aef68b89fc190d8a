"use strict";
// Two images beside each other become one with a slider between them.
for (const compare of document.querySelectorAll(".compare")) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = 100;
  slider.value = 50;
  slider.setAttribute("aria-label", "How much of the full run is shown, from the left, in percent");
  const move = () => compare.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", move);
  compare.append(slider);
  compare.classList.add("live");
  move();
  // Dragging on the image itself works as well.
  const drag = (event) => {
    if (event.buttons !== 1) return;
    const box = compare.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  for (const figure of compare.querySelectorAll("figure")) {
    figure.addEventListener("pointerdown", drag);
    figure.addEventListener("pointermove", drag);
    figure.addEventListener("dragstart", (event) => event.preventDefault());
  }
}
