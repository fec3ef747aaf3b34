// The load of one session: two lines over ten minutes, and the same in words. Nothing here is built from strings of HTML.
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 300;
const HEIGHT = 60;

function make(tag, parent, text, style) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  if (style) node.style.cssText = style;
  parent.appendChild(node);
  return node;
}

function draw(path, values) {
  const last = Math.max(1, values.length - 1);
  let d = '';
  let open = false;
  values.forEach((value, i) => {
    if (value === null || value === undefined) {
      open = false;
      return;
    }
    const x = (i / last) * WIDTH;
    const y = HEIGHT - 1 - (Math.min(100, Math.max(0, value)) / 100) * (HEIGHT - 2);
    d += `${open ? 'L' : 'M'}${x.toFixed(1)},${y.toFixed(1)}`;
    open = true;
  });
  path.setAttribute('d', d);
}

function render({ model, el }) {
  const font = 'font-family: var(--jp-ui-font-family, sans-serif); color: var(--jp-ui-font-color1, inherit)';
  const box = make('div', el, '', `${font}; max-width: ${WIDTH + 20}px; padding: 4px 0`);
  const title = make('strong', box);
  const state = make('div', box, '', 'color: var(--jp-ui-font-color2, inherit)');
  const charts = [
    ['busy', 'var(--jp-brand-color1, #1976d2)'],
    ['memory', 'var(--jp-success-color1, #388e3c)']
  ].map(([key, colour]) => {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute('role', 'img');
    svg.style.cssText = `width: 100%; height: ${HEIGHT}px; border-bottom: 1px solid var(--jp-border-color2, #bdbdbd)`;
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('fill', 'none');
    path.style.stroke = colour;
    path.setAttribute('stroke-width', '2');
    svg.appendChild(path);
    box.appendChild(svg);
    return { key, svg, path, text: make('div', box) };
  });

  function update() {
    const now = model.get('reading') || {};
    title.textContent = now.title || '';
    state.textContent = now.state || '';
    for (const chart of charts) {
      const said = now[`${chart.key}_text`] || '';
      draw(chart.path, now[chart.key] || []);
      chart.text.textContent = said;
      chart.svg.setAttribute('aria-label', `Last 10 minutes, 0 to 100 %: ${said}`);
    }
  }

  model.on('change:reading', update);
  update();
  return () => model.off('change:reading', update);
}

export default { render };
