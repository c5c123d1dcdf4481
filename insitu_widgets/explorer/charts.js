// Draws every chart of the page with one copy of Plotly, and keeps the address in step.
//
// Plotly's own source arrives in the trait `plotly` (it is bundled with plotly.py, so nothing is
// fetched). `charts` maps a name to {title, text, spec}; only what changed is drawn again. Where a
// chart has `html`, that is shown instead, and `spec` is drawn only when it is saved as PNG.

function loadPlotly(source) {
  if (!window.insituPlotly) {
    // A classic script, hidden from AMD loaders: the bundle is not an ES module.
    const module = { exports: {} };
    new Function("module", "exports", "define", source).call(window, module, module.exports, undefined);
    window.insituPlotly = module.exports.newPlot ? module.exports : window.Plotly;
  }
  return window.insituPlotly;
}

function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// On a large projector the letters grow with everything else (see page.css).
function enlarged(layout) {
  if (window.innerWidth < 1700) return layout;
  return JSON.parse(JSON.stringify(layout), (key, value) => (key === "size" ? 1.3 * value : value));
}

// The page's colours, over whatever the figure says.
function themed(layout, card) {
  const text = colour(card, "--insitu-text");
  const grid = colour(card, "--insitu-grid");
  const ground = colour(card, "--insitu-card");
  const themedLayout = { ...layout, paper_bgcolor: ground, plot_bgcolor: ground };
  themedLayout.font = { family: "system-ui, sans-serif", size: 13, ...layout.font, color: text };
  themedLayout.hoverlabel = { bgcolor: ground, bordercolor: grid, font: { color: text } };
  themedLayout.annotations = (layout.annotations || []).map((note) => ({ bgcolor: ground, opacity: 0.85, ...note }));
  themedLayout.shapes = (layout.shapes || []).map(
    (shape) => (shape.fillcolor === "#FFFFFF" ? { ...shape, fillcolor: ground } : shape),
  );
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    themedLayout[key] = { ...layout[key], gridcolor: grid, zerolinecolor: grid, linecolor: text, tickcolor: text };
  }
  return themedLayout;
}

// The same hues, lighter, where the ground is dark.
const ON_DARK = { "#0072B2": "#5AA9E6", "#009E73": "#2BC79A", "#D55E00": "#FF8A3D", "#888888": "#A6AEB6" };
function lightened(data) {
  const text = JSON.stringify(data).replace(/#(0072B2|009E73|D55E00|888888)/g, (hue) => ON_DARK[hue]);
  return JSON.parse(text);
}

// What is equal to what was drawn before, as the very object that was: Plotly then sees what has
// changed, and redraws no more than that.
function shared(before, after) {
  if (before === after || !before || !after || typeof before !== "object" || typeof after !== "object") return after;
  if (Array.isArray(before) !== Array.isArray(after)) return after;
  const keys = Object.keys(after);
  const result = Array.isArray(after) ? [] : {};
  let same = keys.length === Object.keys(before).length;
  for (const key of keys) {
    result[key] = shared(before[key], after[key]);
    same = same && key in before && result[key] === before[key];
  }
  return same ? before : result;
}

function makeCard(name) {
  const card = document.createElement("figure");
  card.className = `insitu-card insitu-${name}`;
  card.innerHTML = `
    <figcaption><span class="insitu-title"></span><span class="insitu-badge" role="status"></span>
      <button class="insitu-png" title="Download plot as a PNG" hidden>PNG</button></figcaption>
    <div class="insitu-plot" role="group"></div>
    <p class="insitu-error" role="alert"></p>`;
  return card;
}

// How often the page asks whether its kernel is there, and how long it waits for an answer.
const PULSE_MS = 3000;
const PATIENCE_MS = 10000;
// How long a frame may go on drawing charts.
const FRAME_MS = 40;
const CONFIG = { displaylogo: false, displayModeBar: true, responsive: true, modeBarButtons: [["toImage"]] };

function render({ model, el }) {
  const Plotly = loadPlotly(model.get("plotly"));
  const grid = document.createElement("div");
  grid.className = "insitu-charts";
  el.appendChild(grid);
  const cards = new Map();
  const drawn = new Map();
  const configs = new Map();
  const waiting = new Set();
  let frame = 0;

  function draw(name) {
    const chart = model.get("charts")[name];
    const card = cards.get(name);
    const plot = card.querySelector(".insitu-plot");
    card.querySelector(".insitu-title").textContent = chart.title;
    plot.setAttribute("aria-label", chart.text);
    drawn.set(name, JSON.stringify(chart));
    const image = { format: "png", scale: 2, filename: `insitu-${name}` };
    const dark = document.body.classList.contains("insitu-dark");
    const spec = dark ? lightened(chart.spec) : chart.spec;
    if (chart.html) {
      const button = card.querySelector(".insitu-png");
      button.hidden = false;
      button.onclick = () => {
        const { clientWidth: width, clientHeight: height } = plot;
        Plotly.downloadImage({ data: spec.data, layout: themed(spec.layout, card) }, { ...image, width, height });
      };
      plot.classList.add("insitu-html");
      plot.innerHTML = chart.html;
      return;
    }
    const layout = themed(enlarged(spec.layout), card);
    const config = { ...CONFIG, toImageButtonOptions: image };
    Plotly.react(plot, shared(plot.data, spec.data), shared(plot.layout, layout), shared(configs.get(name), config));
    configs.set(name, config);
  }

  function drawWaiting() {
    frame = 0;
    if (!grid.isConnected || grid.clientWidth === 0) return; // the observer below comes back
    // In the order in which they were asked for, as many a frame as leave the page alive; a chart
    // that changes again does not hold up the others.
    const start = performance.now();
    while (waiting.size && performance.now() - start < FRAME_MS) {
      const [name] = waiting;
      waiting.delete(name);
      draw(name);
    }
    if (waiting.size) frame = requestAnimationFrame(drawWaiting);
    nameSliders();
  }

  function schedule(everything) {
    for (const [name, chart] of Object.entries(model.get("charts"))) {
      if (!cards.has(name)) {
        cards.set(name, makeCard(name));
        grid.appendChild(cards.get(name));
      }
      if (!everything && drawn.get(name) === JSON.stringify(chart)) continue;
      if (chart.html) draw(name); // costs next to nothing
      else waiting.add(name);
    }
    if (waiting.size && !frame) frame = requestAnimationFrame(drawWaiting);
  }

  function mark() {
    const stale = model.get("stale");
    const errors = model.get("errors");
    for (const [name, card] of cards) {
      card.classList.toggle("insitu-stale", name in stale);
      card.querySelector(".insitu-badge").textContent = stale[name] || "";
      card.querySelector(".insitu-error").textContent = errors[name] || "";
    }
    nameSliders();
  }

  // Slider handles have no name of their own: say the label, and the value with its unit.
  function nameSliders() {
    for (const slider of document.querySelectorAll(".insitu .widget-slider")) {
      const handle = slider.querySelector(".noUi-handle");
      if (!handle) continue;
      handle.setAttribute("aria-label", slider.querySelector(".widget-label").textContent);
      handle.setAttribute("aria-valuetext", slider.querySelector(".widget-readout").textContent);
    }
  }

  // In JupyterLab and Notebook the address and the theme belong to the application; in Voilà,
  // to this page.
  const ours = "voila" in document.body.dataset;

  // Light or dark: the reader's button, else JupyterLab's theme, else the system's.
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    const wish = model.get("theme");
    const lab = document.body.dataset.jpThemeLight;
    const dim = ours || !lab ? system.matches : lab === "false";
    const dark = wish === "auto" ? dim : wish === "dark";
    document.body.classList.toggle("insitu-dark", dark);
    schedule(true);
  }

  function address() {
    if (!model.get("answered")) return; // the kernel has not read the address that the page came with
    document.body.dataset.insituReady = "yes";
    if (ours) {
      history.replaceState(null, "", model.get("permalink") || window.location.pathname);
    }
  }

  schedule(true);
  mark();
  theme();
  const listeners = {
    "change:charts": () => { schedule(false); mark(); },
    "change:stale": mark,
    "change:errors": mark,
    "change:theme": theme,
    "change:permalink": address,
    "change:answered": address,
  };
  for (const [event, callback] of Object.entries(listeners)) model.on(event, callback);
  system.addEventListener("change", theme);
  const resize = new ResizeObserver(() => {
    if (waiting.size && !frame) frame = requestAnimationFrame(drawWaiting);
    for (const name of drawn.keys()) {
      const plot = cards.get(name).querySelector(".insitu-plot");
      if (plot.layout) Plotly.Plots.resize(plot);
    }
  });
  resize.observe(grid);
  // A kernel that has died says nothing; the page must.
  const banner = document.createElement("p");
  banner.className = "insitu-banner";
  banner.setAttribute("role", "alert");
  grid.before(banner);
  let heard = Date.now();
  const listen = (message) => {
    if (message.type === "pong") heard = Date.now();
  };
  model.on("msg:custom", listen);
  const pulse = setInterval(() => {
    nameSliders(); // sliders that have come since
    const silent = Date.now() - heard > PATIENCE_MS;
    banner.textContent = silent ? "The kernel does not answer: what you see may be out of date. Reload the page." : "";
    try {
      model.send({ type: "ping" });
    } catch {
      // The connection is down; no pong will come, and the banner says so.
    }
  }, PULSE_MS);

  // Tell the kernel that a page is here, with what its address asks for.
  model.send({ type: "hello", query: ours ? window.location.search : "" });
  return () => {
    clearInterval(pulse);
    model.off("msg:custom", listen);
    resize.disconnect();
    system.removeEventListener("change", theme);
    for (const [event, callback] of Object.entries(listeners)) model.off(event, callback);
    for (const card of cards.values()) Plotly.purge(card.querySelector(".insitu-plot"));
  };
}

export default { render };
