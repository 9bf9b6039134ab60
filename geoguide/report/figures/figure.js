// Draws one figure, of the element that this script stands in. Flat charts are drawn when they come into view; clouds
// are still pictures until a reader asks to turn them, since each takes a WebGL context and seconds without a GPU.
(() => {
  const MOST_CLOUDS = 4; // turned at a time; browsers keep 16 contexts and drop the oldest silently
  const NARROW = 620; // pixels: below, panels stand one under another
  const FAINT = 'rgba(128,128,128,0.3)';
  const page = (window.geoguideFigures ??= { all: [], turned: [], started: false });

  const ink = () => (document.documentElement.dataset.theme === 'dark' ? '#dddddd' : '#222222');
  const numbered = (layout, name) =>
    Object.keys(layout).filter((key) => new RegExp(`^${name}[0-9]*$`).test(key))
      .sort((a, b) => parseInt(a.slice(name.length) || 1) - parseInt(b.slice(name.length) || 1));

  // Panels that stand side by side, one under another.
  const stack = (data, layout) => {
    const scenes = numbered(layout, 'scene'), flat = scenes.length === 0;
    const panels = flat ? numbered(layout, 'xaxis') : scenes, count = panels.length;
    if (count < 2) return;
    const band = (number) => [1 - (number + 0.84) / count, 1 - (number + 0.1) / count];
    panels.forEach((name, number) => {
      if (flat) {
        layout[name].domain = [0, 1];
        layout[name.replace('x', 'y')].domain = band(number);
      } else layout[name].domain = { x: [0, 1], y: band(number) };
    });
    (layout.annotations || []).slice(0, count).forEach((note, number) => { note.x = 0.5; note.y = band(number)[1]; });
    for (const trace of data) {
      const bar = trace.colorbar || (trace.marker || {}).colorbar;
      const of = flat ? (trace.xaxis || 'x').replace('x', 'xaxis') : trace.scene;
      const number = Math.max(0, panels.indexOf(of)), [low, high] = band(number);
      if (bar && bar.orientation === 'h') Object.assign(bar, { x: 0.5, len: 0.95, y: low - 0.02 / count });
      else if (bar) Object.assign(bar, { x: 1, y: (low + high) / 2, len: (high - low) * 0.9 });
    }
    layout.height = flat ? 120 + 380 * count : 60 + 340 * count;
  };

  const described = (figure) => {
    const { data, layout } = structuredClone(figure.spec);
    figure.narrow = figure.plot.clientWidth < NARROW;
    if (figure.narrow && figure.spec.stack) stack(data, layout);
    Object.assign(layout, { paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)' });
    layout.font = { ...layout.font, color: ink() };
    layout.modebar = { bgcolor: 'rgba(0,0,0,0)' };
    if (figure.narrow && !figure.stills && (layout.legend || {}).orientation !== 'h')
      layout.legend = { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom' };
    for (const name of [...numbered(layout, 'xaxis'), ...numbered(layout, 'yaxis')])
      layout[name] = { gridcolor: FAINT, zerolinecolor: FAINT, linecolor: FAINT, ...layout[name] };
    for (const name of numbered(layout, 'scene')) {
      layout[name].bgcolor = 'rgba(0,0,0,0)';
      for (const axis of ['xaxis', 'yaxis', 'zaxis'])
        layout[name][axis] = { ...layout[name][axis], showbackground: false, gridcolor: FAINT, color: ink() };
    }
    return [data, layout];
  };

  // Several clouds of one figure turn together; `busy` stops the relayout that this causes from causing another.
  const together = (plot, scenes) => {
    let busy = false;
    const follow = (event) => {
      const moved = scenes.find((key) => event[key + '.camera']);
      if (busy || !moved) return;
      busy = true;
      const update = {};
      for (const key of scenes) if (key !== moved) update[key + '.camera'] = event[moved + '.camera'];
      Plotly.relayout(plot, update).then(() => { busy = false; });
    };
    plot.on('plotly_relayouting', follow);
    plot.on('plotly_relayout', follow);
  };

  const draw = (figure) => {
    if (figure.drawn) return;
    if (!window.Plotly) {
      figure.plot.textContent =
        'This interactive figure needs plotly.js: open the notebook in JupyterLab or VS Code, or read the book.';
      return;
    }
    figure.drawn = true;
    const [data, layout] = described(figure);
    figure.plot.style.height = `${layout.height}px`; // to which plotly fits the figure when the width changes
    Plotly.newPlot(figure.plot, data, layout, figure.spec.config);
    figure.plot.style.minHeight = '';
    const scenes = numbered(layout, 'scene');
    if (scenes.length > 1) together(figure.plot, scenes);
    figure.resize = new ResizeObserver(() => {
      if (!figure.drawn) return;
      if (figure.spec.stack && figure.narrow !== figure.plot.clientWidth < NARROW) redraw(figure);
      else Plotly.Plots.resize(figure.plot);
    });
    figure.resize.observe(figure.box);
  };
  const redraw = (figure) => {
    if (!figure.drawn) return;
    const [data, layout] = described(figure);
    figure.plot.style.height = `${layout.height}px`;
    Plotly.react(figure.plot, data, layout, figure.spec.config);
  };

  const still = (figure) => {
    figure.resize.disconnect();
    Plotly.purge(figure.plot);
    figure.drawn = false;
    figure.plot.hidden = true;
    figure.stills.hidden = figure.button.hidden = false;
  };
  const turn = (figure) => {
    if (!document.createElement('canvas').getContext('webgl')) {
      figure.button.disabled = true;
      figure.button.textContent = 'This browser has no WebGL: the picture stays still.';
      return;
    }
    figure.stills.hidden = figure.button.hidden = true;
    figure.plot.hidden = false;
    draw(figure);
    if (!figure.drawn) return;
    page.turned = [...page.turned.filter((other) => other !== figure), figure];
    if (page.turned.length > MOST_CLOUDS) still(page.turned.shift());
  };

  const start = () => { // once for all figures of the page
    page.started = true;
    const flat = page.all.filter((figure) => !figure.stills);
    const all = () => flat.forEach(draw);
    addEventListener('beforeprint', all);
    if (new URLSearchParams(location.search).has('print') || !window.IntersectionObserver) all();
    else {
      const seen = new IntersectionObserver((entries) => {
        for (const entry of entries) if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          draw(flat.find((figure) => figure.box === entry.target));
        }
      }, { rootMargin: '300px' });
      flat.forEach((figure) => seen.observe(figure.box));
    }
    new MutationObserver(() => page.all.forEach(redraw))
      .observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
  };

  const box = document.currentScript.parentElement;
  const figure = {
    box, drawn: false, plot: box.querySelector('.plot'), stills: box.querySelector('.stills'),
    button: box.querySelector('button'), spec: JSON.parse(box.querySelector('script[type="application/json"]').text),
  };
  page.all.push(figure);
  if (figure.button) {
    figure.button.hidden = false;
    figure.button.onclick = () => turn(figure);
  }
  if (page.all.length === 1)
    document.readyState === 'complete' ? start() : addEventListener('load', start);
  else if (page.started && !figure.stills) draw(figure);
})();
