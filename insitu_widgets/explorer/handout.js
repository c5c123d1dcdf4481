// Draws a handout's figures; everything is in the page, nothing is asked for.

function themed(spec) {
  const axis = { gridcolor: "#d9dee3", linecolor: "#1b1f24", tickcolor: "#1b1f24" };
  const layout = { ...spec.layout, font: { family: "system-ui, sans-serif", color: "#1b1f24", size: 13 } };
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) layout[key] = { ...layout[key], ...axis };
  return layout;
}

function draw(plot, spec) {
  Plotly.react(plot, spec.data, themed(spec), { displaylogo: false, displayModeBar: false, responsive: true });
}

function drawIn(place) {
  for (const plot of place.querySelectorAll("figure:not([data-chart]) .insitu-plot")) {
    if (plot.offsetWidth === 0 || plot.classList.contains("js-plotly-plot")) continue;
    draw(plot, JSON.parse(plot.parentElement.querySelector("script").textContent));
  }
  for (const section of place.querySelectorAll(".insitu-catalogue")) {
    if (section.offsetWidth > 0) follow(section);
  }
}

function follow(section) {
  const states = JSON.parse(section.querySelector(":scope > script").textContent);
  const lists = [...section.querySelectorAll("select")];
  const show = () => {
    const state = states[lists.map((list) => list.value).join("|")];
    section.querySelector(".insitu-sentence").innerHTML = state.sentence;
    for (const [name, chart] of Object.entries(state.charts)) {
      const plot = section.querySelector(`[data-chart="${name}"] .insitu-plot`);
      plot.setAttribute("aria-label", chart.text);
      draw(plot, chart.spec);
    }
  };
  for (const list of lists) list.onchange = show;
  show();
}

drawIn(document);
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => details.open && drawIn(details));
}
document.body.dataset.handoutReady = "yes";
