// Draws every chart of the page with one copy of Plotly, and keeps the address in step.
//
// Plotly's own source arrives in the widget that the trait `plotly` names, once for all panels (it
// is bundled with plotly.py, so nothing is fetched). `charts` maps a name to {title, text, spec};
// only what changed is drawn again. Where a chart has `html`, that is shown instead, and `spec` is
// drawn only when it is saved as PNG. What is saved bears the chart's title and `caption`, which
// says what it belongs to.

async function loadPlotly(model) {
  const script = await model.widget_manager.get_model(model.get("plotly").replace("IPY_MODEL_", ""));
  if (!window.insituPlotly) {
    const source = script.get("source");
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
const isLarge = () => window.innerWidth >= 1700;
function enlarged(layout) {
  if (!isLarge()) return layout;
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

// Words in lines of at most so many letters.
function wrapped(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push(word);
    else lines.push([lines.pop(), word].filter(Boolean).join(" "));
  }
  return lines.filter(Boolean);
}

// A layout with the title and what it belongs to at the head, above `legend` pixels of legend, and
// how much higher it has become.
function captioned(layout, title, caption, width, legend) {
  const lines = wrapped(caption, width / 6.2);
  const head = 30 + 15 * lines.length + legend;
  const subtitle = { text: lines.join("<br>"), font: { size: 11 } };
  const place = { x: 0, xref: "container", xanchor: "left", y: 1, yref: "container", yanchor: "top" };
  const margin = { ...layout.margin, t: (layout.margin?.t ?? 20) + head };
  const heading = { text: `<b>${title}</b>`, font: { size: 15 }, pad: { t: 10, l: 10 }, subtitle, ...place };
  return [{ ...layout, margin, title: heading }, head];
}

function download(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = `insitu-${name}.png`;
  link.click();
}

// The strip of test images as a picture: each with its answer, right in a solid frame, wrong in a dashed one.
function stripAsPng(strip, title, caption) {
  const images = [...strip.querySelectorAll(".insitu-image")];
  const [columns, size, width] = [10, 92, 10 * 92 + 20];
  const lines = wrapped(caption, width / 6.2);
  const head = 34 + 15 * lines.length;
  const canvas = document.createElement("canvas");
  canvas.width = 2 * width;
  canvas.height = 2 * (head + (size + 20) * Math.ceil(images.length / columns) + 8);
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = colour(strip, "--insitu-card");
  pen.fillRect(0, 0, width, canvas.height);
  const write = (text, font, x, y, most) => {
    pen.font = `${font} system-ui, sans-serif`;
    pen.fillText(text, x, y, most);
  };
  pen.fillStyle = colour(strip, "--insitu-text");
  write(title, "bold 15px", 10, 22);
  lines.forEach((line, i) => write(line, "11px", 10, 40 + 15 * i));
  pen.textAlign = "center";
  pen.lineWidth = 3;
  images.forEach((image, i) => {
    const x = 10 + size * (i % columns);
    const y = head + (size + 20) * Math.floor(i / columns);
    const wrong = image.classList.contains("insitu-wrong");
    pen.drawImage(image.querySelector("img"), x + 12, y + 5, size - 24, size - 24);
    pen.strokeStyle = colour(strip, wrong ? "--insitu-bad" : "--insitu-good");
    pen.setLineDash(wrong ? [6, 4] : []);
    pen.strokeRect(x + 3, y + 2, size - 6, size + 12);
    write(image.innerText, "13px", x + size / 2, y + size + 4, size - 12);
  });
  return canvas.toDataURL("image/png");
}

// ipywidgets lets a slider's readout be typed into, takes nothing of it and shows it for ever; and
// a moved handle says its number in the row of stops. Put both right at once, and at every change.
function nameSlider(slider) {
  const [handle, readout] = [slider.querySelector(".noUi-handle"), slider.querySelector(".widget-readout")];
  if (!handle || !readout) return;
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  set(handle, "aria-label", slider.querySelector(".widget-label").textContent);
  set(handle, "aria-valuetext", readout.textContent);
  const typed = slider.closest(".insitu-points"); // of numbers, whose readout takes what is typed
  if (!typed) set(readout, "contenteditable", "false");
}

// Toggle buttons have no group and do not say which of them is pressed.
function nameToggles(toggles) {
  toggles.setAttribute("role", "group");
  toggles.setAttribute("aria-label", toggles.querySelector(".widget-label").textContent);
  for (const button of toggles.querySelectorAll("button")) {
    const pressed = String(button.classList.contains("mod-active"));
    if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
  }
}

// What ipywidgets leaves without a name gets one, now and whenever it changes.
const CHANGES = { subtree: true, childList: true, characterData: true, attributes: true };
const NAMED = [
  [".insitu .widget-slider", nameSlider, ["aria-valuetext", "contenteditable"]],
  [".insitu .widget-toggle-buttons", nameToggles, ["class"]],
  [".insitu-told", (told) => told.setAttribute("aria-live", "polite"), ["class"]],
];
function nameControls() {
  for (const [selector, name, attributeFilter] of NAMED) {
    for (const element of document.querySelectorAll(selector)) {
      if (element.dataset.insituNamed) continue;
      element.dataset.insituNamed = "yes";
      name(element);
      new MutationObserver(() => name(element)).observe(element, { ...CHANGES, attributeFilter });
    }
  }
}

function makeCard(name) {
  const card = document.createElement("figure");
  card.className = `insitu-card insitu-${name}`;
  card.innerHTML = `
    <figcaption><span class="insitu-title"></span><span class="insitu-badge" role="status"></span>
      <button class="insitu-png" hidden>PNG</button></figcaption>
    <div class="insitu-plot" role="group"></div>
    <p class="insitu-error" role="alert"></p>`;
  return card;
}

// How often the page asks whether its kernel is there, and how many answers may be missing. Pulses
// are counted, not seconds: a page that was hidden, or slept with its computer, has not asked.
const PULSE_MS = 3000;
const MISSING = 3;
// The least time between two changes of the address: browsers allow a hundred in half a minute.
const ADDRESS_MS = 400;
// What does nothing without a kernel; links go on working.
const CONTROLS = ".insitu-controls > :not(.insitu-links), .insitu-knobs > *, .insitu-question";
// The least width of a saved picture: legends need it.
const PNG_WIDTH = 640;
// How long a frame may go on drawing charts.
const FRAME_MS = 40;
const CONFIG = { displaylogo: false, displayModeBar: true, responsive: true };

async function render({ model, el }) {
  const Plotly = await loadPlotly(model);
  const grid = document.createElement("div");
  grid.className = "insitu-charts";
  el.appendChild(grid);
  const cards = new Map();
  const drawn = new Map();
  const configs = new Map();
  const waiting = new Set();
  let frame = 0;
  // A chart takes another width without its grid doing so: beside the first one comes a second.
  const fit = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.layout && target.clientWidth) Plotly.Plots.resize(target);
  });

  function lit(spec) {
    return document.body.classList.contains("insitu-dark") ? lightened(spec) : spec;
  }

  // What a saved picture belongs to, and whether it really does.
  function captionOf(name) {
    return [model.get("caption"), model.get("stale")[name]].filter(Boolean).join(" · ");
  }

  function save(name) {
    const { title } = model.get("charts")[name];
    const card = cards.get(name);
    const plot = card.querySelector(".insitu-plot");
    const spec = lit(model.get("charts")[name].spec);
    const width = Math.max(PNG_WIDTH, plot.clientWidth);
    const legend = Math.max(26, plot.querySelector(".legend")?.getBoundingClientRect().height ?? 0);
    const [layout, more] = captioned(spec.layout, title, captionOf(name), width, legend);
    const height = (spec.layout.height ?? plot.clientHeight) + more;
    const image = { format: "png", scale: 2, filename: `insitu-${name}`, width, height };
    Plotly.downloadImage({ data: spec.data, layout: themed(layout, card) }, image);
  }

  // Stays the same for a chart, so that Plotly does not begin anew.
  function configOf(name) {
    if (!configs.has(name)) {
      const camera = { name: "toImage", title: "Download plot as a PNG", icon: Plotly.Icons.camera, click: () => save(name) };
      configs.set(name, { ...CONFIG, modeBarButtons: [[camera]] });
    }
    return configs.get(name);
  }

  function draw(name) {
    const chart = model.get("charts")[name];
    const card = cards.get(name);
    const plot = card.querySelector(".insitu-plot");
    card.querySelector(".insitu-title").textContent = chart.title;
    plot.setAttribute("aria-label", chart.text);
    drawn.set(name, JSON.stringify(chart));
    const naming = `Download “${chart.title}” as a PNG`;
    if (chart.html) {
      const button = card.querySelector(".insitu-png");
      button.hidden = false;
      button.title = naming;
      button.setAttribute("aria-label", naming);
      button.onclick = () => save(name);
      plot.classList.add("insitu-html");
      plot.innerHTML = chart.html;
      return;
    }
    const spec = lit(chart.spec);
    const layout = themed(enlarged(spec.layout), card);
    Plotly.react(plot, shared(plot.data, spec.data), shared(plot.layout, layout), configOf(name));
    plot.querySelector(".modebar-btn")?.setAttribute("aria-label", naming);
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
    nameControls();
  }

  function remove(name) {
    const card = cards.get(name);
    const plot = card.querySelector(".insitu-plot");
    fit.unobserve(plot);
    Plotly.purge(plot);
    card.remove();
    for (const known of [cards, drawn, waiting]) known.delete(name);
  }

  function schedule(everything) {
    for (const name of [...cards.keys()]) if (!(name in model.get("charts"))) remove(name);
    for (const [name, chart] of Object.entries(model.get("charts"))) {
      if (!cards.has(name)) {
        cards.set(name, makeCard(name));
        grid.appendChild(cards.get(name));
        fit.observe(cards.get(name).querySelector(".insitu-plot"));
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
    nameControls();
  }

  // The strip of test images stands in a widget of its own.
  function onClick(event) {
    const button = event.target.closest?.(".insitu-save-strip");
    const board = grid.closest(".insitu");
    if (!button || !board?.contains(button)) return;
    const strip = board.querySelector(".insitu-strip");
    const [cued] = Object.keys(model.get("stale")); // the images are out of date when any chart is
    download(stripAsPng(strip, button.dataset.title, captionOf(cued)), "images");
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

  let [addressing, addressed] = [0, 0];
  function address() {
    if (!model.get("answered")) return; // the kernel has not read the address that the page came with
    document.body.dataset.insituReady = "yes";
    if (ours && !addressing) addressing = setTimeout(writeAddress, addressed + ADDRESS_MS - Date.now());
  }

  function writeAddress() {
    [addressing, addressed] = [0, Date.now()];
    try {
      history.replaceState(null, "", model.get("permalink") || window.location.pathname);
    } catch {
      addressing = setTimeout(writeAddress, 10 * ADDRESS_MS); // too often, for this browser
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
  document.addEventListener("click", onClick);
  let large = isLarge();
  const resize = new ResizeObserver(() => {
    if (large !== isLarge()) {
      // Letters of another size want other margins, which Plotly finds only where it begins anew.
      large = !large;
      for (const plot of grid.querySelectorAll(".js-plotly-plot")) Plotly.purge(plot);
      schedule(true);
    }
    if (waiting.size && !frame) frame = requestAnimationFrame(drawWaiting);
  });
  resize.observe(grid);
  // A kernel that has died says nothing; the page must.
  const banner = document.createElement("p");
  banner.className = "insitu-banner";
  banner.setAttribute("role", "alert");
  grid.before(banner);
  let missing = 0;
  const tell = () => {
    const silent = missing > MISSING;
    banner.textContent = silent ? "The kernel does not answer: what you see may be out of date. Reload the page." : "";
    const board = grid.closest(".insitu");
    board?.classList.toggle("insitu-dead", silent);
    for (const control of board?.querySelectorAll(CONTROLS) ?? []) control.inert = silent;
  };
  const listen = (message) => {
    if (message.type !== "pong") return;
    missing = 0;
    tell();
  };
  model.on("msg:custom", listen);
  const pulse = setInterval(() => {
    nameControls(); // those that have come since
    missing += 1;
    tell();
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
    clearTimeout(addressing);
    model.off("msg:custom", listen);
    resize.disconnect();
    fit.disconnect();
    document.removeEventListener("click", onClick);
    system.removeEventListener("change", theme);
    for (const [event, callback] of Object.entries(listeners)) model.off(event, callback);
    for (const card of cards.values()) Plotly.purge(card.querySelector(".insitu-plot"));
  };
}

export default { render };
