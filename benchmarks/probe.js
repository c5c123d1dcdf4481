// Runs in the page before the page's own scripts. Times are performance.now(): milliseconds since
// the navigation began, on the page's own clock.

window.probe = (() => {
  const find = (selector) => document.querySelector(selector);
  const text = (selector) => (find(selector) || { textContent: "" }).textContent;

  const pressOn = (slider, key) => find(`.insitu-${slider} .noUi-handle`).dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }),
  );

  // What the cheap tier shows of a chart: its lines, and the values of its first trace. The
  // measurement, which comes later, changes neither.
  const cheap = (name) => {
    const plot = find(`.insitu-${name} .insitu-plot`);
    if (!plot.layout) return text(`.insitu-${name} .insitu-plot`);
    const shapes = plot.layout.shapes.filter((shape) => shape.name !== "measured" && shape.visible !== false);
    return JSON.stringify([shapes, plot.data[0].y]);
  };

  // ---- opening: a chart is drawn, a key has changed the page, the first measured estimate
  function watchOpening(slider, limit) {
    const seen = {};
    let pressed = -Infinity;
    const marks = {
      picture: () => find(".insitu-accuracy .main-svg"),
      usable: () => location.search.includes(`${slider}=`),
      estimate: () => text(".insitu-tile-measured b").includes("%"),
    };
    return new Promise((resolve) => {
      function look() {
        const now = performance.now();
        for (const [name, reached] of Object.entries(marks)) {
          if (!(name in seen) && reached()) seen[name] = now;
        }
        if (find(`.insitu-${slider} .noUi-handle`) && !seen.usable && now - pressed >= 100) {
          pressed = now; // as an impatient reader does: until something happens
          pressOn(slider, "ArrowRight");
        }
        if (Object.keys(seen).length === Object.keys(marks).length || now > limit) resolve(seen);
        else setTimeout(look, 10);
      }
      look();
    });
  }

  // ---- one move: from the key to each part of the answer
  let pending = null;
  const parts = {
    cheap: {
      before: () => ({
        accuracy: cheap("accuracy"), rates: cheap("rates"), bits: cheap("bits"),
        words: text(".insitu-sentence"),
      }),
      reached: (name, old) => (name === "words" ? text(".insitu-sentence") : cheap(name)) !== old,
    },
    measured: {
      before: () => ({ gone: "", estimate: "", complete: "" }),
      reached: (name) => {
        const value = text(".insitu-tile-measured b");
        if (name === "gone") return value === "…";
        if (!("gone" in pending.at) || !value.includes("%")) return false;
        return name === "estimate" || !find(".insitu-tile-measured progress");
      },
    },
  };

  function look() {
    if (!pending || pending.start === null) return;
    const now = performance.now() - pending.start;
    for (const [name, old] of Object.entries(pending.old)) {
      if (!(name in pending.at) && pending.kind.reached(name, old)) pending.at[name] = now;
    }
    if (Object.keys(pending.at).length < Object.keys(pending.old).length) return;
    const { at, start, resolve } = pending;
    pending = null;
    // The frame that shows it has been painted when a task runs after its animation callbacks.
    requestAnimationFrame(() => setTimeout(() => resolve({ ...at, last: now, painted: performance.now() - start })));
  }

  // Get ready for the next key press on a slider's handle; `answer()` then waits for the parts.
  function expect(kind) {
    const mine = { kind: parts[kind], old: parts[kind].before(), at: {}, start: null };
    mine.answer = new Promise((resolve) => { mine.resolve = resolve; });
    pending = mine;
    window.probe.answer = (limit) => Promise.race([
      mine.answer, new Promise((resolve) => setTimeout(() => resolve(null), limit)),
    ]);
  }

  function arm() {
    document.addEventListener("keydown", (event) => {
      if (pending && pending.start === null) pending.start = event.timeStamp;
    }, true);
    const watched = { subtree: true, childList: true, characterData: true };
    new MutationObserver(look).observe(find(".insitu-head"), watched);
    for (const plot of document.querySelectorAll(".insitu-plot")) {
      if (plot.layout) plot.on("plotly_afterplot", look);
      else new MutationObserver(look).observe(plot, watched);
    }
  }

  // ---- many moves at an even pace; while the page is busy they queue up, as a browser's do
  async function rush(moves, seconds) {
    const start = performance.now();
    for (const [index, [slider, key]] of moves.entries()) {
      const wait = start + (1e3 * seconds * index) / moves.length - performance.now();
      if (wait > 0) await new Promise((resolve) => { setTimeout(resolve, wait); });
      pressOn(slider, key);
    }
    return (performance.now() - start) / 1e3;
  }

  return { watchOpening, arm, expect, rush };
})();
