'use strict';
for (const figure of document.querySelectorAll('.compare')) {
  const stage = figure.querySelector('.stage');
  const range = figure.querySelector('input');
  if (!range) continue;  // a single image

  const move = () => {
    figure.style.setProperty('--split', range.value + '%');
    range.setAttribute('aria-valuetext', Math.round(range.value) + ' % of the left image');
  };
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    move();
  };
  range.addEventListener('input', move);
  stage.addEventListener('pointerdown', (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener('pointermove', (event) => {
    if (event.buttons) drag(event);
  });

  for (const select of figure.querySelectorAll('select')) {
    const side = select.className;
    select.addEventListener('change', () => {
      stage.querySelectorAll('img').forEach((image, i) => image.classList.toggle(side, i === Number(select.value)));
    });
  }
}
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((part) => { part.open = true; }));
