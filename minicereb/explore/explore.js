// Draws what Python computed and stored in this page. Nothing is computed here beyond scaling numbers to lengths and colours.
"use strict";

const page = JSON.parse(document.getElementById("about").textContent);
const $ = (id) => document.getElementById(id);
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const text = (value) => String(value).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const short = (value) => String(Number(value.toPrecision(3)));
const signed = (value) => (value < 0 ? "−" : "") + short(Math.abs(value));

// -- the stored arrays -------------------------------------------------------------------------------------------------------

let arrays = {};

async function unpack() {
  const packed = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const kinds = { uint8: Uint8Array, int8: Int8Array, int16: Int16Array };
  for (const [name, { type, shape, at }] of Object.entries(page.arrays)) {
    const size = shape.reduce((product, each) => product * each, 1) * kinds[type].BYTES_PER_ELEMENT;
    arrays[name] = Object.assign(new kinds[type](bytes.slice(at, at + size)), { shape });
  }
}

// The numbers at some leading indices of an array: a view of all that lies behind them.
function at(name, ...indices) {
  const array = arrays[name];
  let size = array.length, start = 0;
  indices.forEach((index, axis) => { size /= array.shape[axis]; start += index * size; });
  return array.subarray(start, start + size);
}

// -- drawing -----------------------------------------------------------------------------------------------------------------

// A colour of the style sheet, as [red, green, blue].
function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((start) => parseInt(value.slice(start, start + 2), 16));
}

const mixed = (one, other, share) => one.map((value, n) => value + (other[n] - value) * share);

// Paints an image of `shape`, given the colour of each pixel.
function paint(canvas, [height, width], colourOf) {
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  for (let n = 0; n < width * height; n++) picture.data.set([...colourOf(n), 255], 4 * n);
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// Parts of a drawing, as text; `style` is a class of the style sheet.
const segment = (style, x1, y1, x2, y2) => `<line class="${style}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
const box = (style, x, y, width, height) => `<rect class="${style}" x="${x}" y="${y}" width="${width}" height="${height}"/>`;
const dot = (style, x, y, radius) => `<circle class="${style}" cx="${x}" cy="${y}" r="${radius}"/>`;
const curve = (style, points) => `<polyline class="${style}" points="${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ")}"/>`;
const label = (x, y, words, style = "") => `<text class="${style}" x="${x.toFixed(1)}" y="${y.toFixed(1)}">${text(words)}</text>`;

// Round numbers between two limits, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return found;
}

// Draws axes and what `content(across, up)` returns in them; the functions map values to places in pixels.
function plot(id, { x, y, height, xLabel = "", yTicks, yText = signed, left = 44, right = 12 }, content) {
  const svg = $(id), width = svg.clientWidth || 300, bottom = height - (xLabel ? 36 : 20);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  const across = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const up = (value) => bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (bottom - 10);
  const parts = [];
  for (const value of yTicks ?? ticks(...y, 4)) {
    parts.push(segment("grid", left, up(value), width - right, up(value)), label(left - 6, up(value) + 4, yText(value), "end"));
  }
  for (const value of ticks(...x, width < 420 ? 4 : 8)) parts.push(label(across(value), bottom + 16, signed(value), "middle"));
  if (xLabel) parts.push(label((left + width - right) / 2, height - 4, xLabel, "middle"));
  svg.innerHTML = parts.join("") + content(across, up, bottom);
  svg.valueAt = (clientX) => {
    const share = (clientX - svg.getBoundingClientRect().left - left) / (width - left - right);
    return x[0] + clamp(share, 0, 1) * (x[1] - x[0]);
  };
}

// A range that includes 0, with some room.
function around(values) {
  const low = Math.min(0, ...values), high = Math.max(0, ...values), room = 0.06 * (high - low || 1);
  return [low - room, high + room];
}

// -- controls ----------------------------------------------------------------------------------------------------------------

// Buttons of which one is chosen; `names` are HTML.
function choices(id, names, chosen, onChange) {
  const button = (name, n) =>
    `<label class="choice"><input type="radio" name="${id}" value="${n}" ${n === chosen ? "checked" : ""}><span>${name}</span></label>`;
  $(id).innerHTML = names.map(button).join("");
  $(id).addEventListener("change", (event) => onChange(Number(event.target.value)));
}

// Moves a slider as a reader would.
function move(slider, value) {
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
}

// Moves a slider forward while playing; `rate` steps in a second, an eighth of that where motion is to be reduced.
function player(button, slider, rate) {
  const words = button.textContent;
  let last = null, owed = 0;
  const stop = () => { last = null; button.textContent = words; slider.dispatchEvent(new Event("stop")); };
  function frame(now) {
    if (last === null) return;
    owed += (Math.max(0, now - last) / 1000) * rate * (reduced.matches ? 0.125 : 1);
    last = now;
    if (owed >= 1) move(slider, Number(slider.value) + Math.floor(owed));
    owed %= 1;
    if (slider.value === slider.max) stop();
    else requestAnimationFrame(frame);
  }
  button.addEventListener("click", () => {
    if (last !== null) return stop();
    if (slider.value === slider.max) move(slider, slider.min);
    [last, owed, button.textContent] = [performance.now(), 0, "Pause"];
    requestAnimationFrame(frame);
  });
  for (const name of ["pointerdown", "keydown"]) slider.addEventListener(name, () => last !== null && stop());
  return { stop, playing: () => last !== null };
}

// Lets a plot be dragged: the slider follows the pointer.
function draggable(id, slider) {
  const follow = (event) => { if (event.buttons) move(slider, Math.round($(id).valueAt(event.clientX))); };
  for (const name of ["pointerdown", "pointermove"]) $(id).addEventListener(name, follow);
}

// -- the attack --------------------------------------------------------------------------------------------------------------

function attackTab() {
  const attack = page.attack, methods = Object.keys(attack.methods), wide = attack.shape.length > 1;
  const [height, width, channels = 1] = wide ? attack.shape : [1, attack.shape[0]];
  const state = { image: 0, objective: attack.objectives.length - 1, method: Math.min(1, methods.length - 1), step: Infinity };
  const byDefault = attack.epsilons.findIndex((epsilon) => epsilon >= 0.1);
  const epsilon = $("epsilon"), step = $("step"), method = () => methods[state.method];
  epsilon.max = attack.epsilons.length;
  epsilon.value = byDefault < 0 ? attack.epsilons.length : byDefault + 1;
  const way = (objective = state.objective) => objective * attack.epsilons.length + Math.max(0, epsilon.value - 1);
  const steps = () => (Number(epsilon.value) ? attack.methods[method()] : 0);
  // The stored numbers of the image and the attack that are chosen.
  const now = (name, objective) => at(`attack/${name}/${method()}`, way(objective), state.image);
  const grey = (pixels, n) => Array.from({ length: 3 }, (_, c) => pixels[channels === 3 ? 3 * n + c : channels * n]);
  const play = player($("play"), step, 6);

  const again = () => { play.stop(); draw(); };
  const thumbnails = attack.labels.map((name, n) => `<canvas></canvas>${name}<span class="hidden">, test image ${n}</span>`);
  choices("images", thumbnails, state.image, (n) => { state.image = n; again(); });
  document.querySelectorAll("#images canvas").forEach((canvas, n) => {
    const pixels = at("attack/image", n);
    paint(canvas, [height, width], (pixel) => grey(pixels, pixel));
  });
  choices("objectives", attack.objectives.map(text), state.objective, (n) => { state.objective = n; again(); });
  choices("methods", methods.map((name) => text(name.toUpperCase())), state.method, (n) => { state.method = n; again(); });
  epsilon.addEventListener("input", again);
  step.addEventListener("input", () => { state.step = Number(step.value); draw(); });
  step.addEventListener("stop", () => draw());
  draggable("margin", step);

  function draw() {
    const t = Math.min(state.step, steps()), n = Number(epsilon.value), bound = n ? attack.epsilons[n - 1] : 0;
    const right = attack.labels[state.image], answer = now("answer")[t];
    [step.max, step.value, step.disabled] = [steps(), t, !steps()];
    $("play").disabled = !steps();
    const said = `The model answers ${answer}, ${answer === right ? "which is right" : `but this is a ${right}`}.`;
    step.setAttribute("aria-valuetext", `${t} of ${steps()}. ${said}`);
    $("step-value").textContent = `${t} of ${steps()}`;
    $("said").setAttribute("aria-live", play.playing() ? "off" : "polite");
    $("said").className = `said ${answer === right ? "right" : "wrong"}`;
    $("said").textContent = `${answer === right ? "✓" : "✗"} ${said}`;
    $("epsilon-value").textContent = `ε = ${short(bound)}`;
    epsilon.setAttribute("aria-valuetext", `ε = ${short(bound)}`);
    drawScale();
    drawImages(t, bound);
    drawOutputs(t, right, answer);
    drawMargins(t);
    drawHidden(t);
  }

  // Below the slider of ε: what is proved, what is broken, and between them what nobody knows.
  function drawScale() {
    const svg = $("scale"), w = svg.clientWidth || 300, stops = [0, ...attack.epsilons], last = stops.length - 1;
    const place = (n) => 14 + (n / last) * (w - 28);
    const across = (value) => {
      const n = clamp(stops.findIndex((each) => each >= value), 1, last);
      return place(n - 1 + clamp((value - stops[n - 1]) / (stops[n] - stops[n - 1]), 0, 1));
    };
    const radius = attack.certified?.[state.image], broken = attack.broken[state.image];
    const parts = stops.map((value, n) => segment("axis", place(n), 2, place(n), 7) + label(place(n), 42, short(value), "middle"));
    parts.push(segment("unknown", place(0), 15, place(last), 15));
    if (radius != null) parts.push(segment("proved", place(0), 15, across(radius), 15), dot("ring", across(radius), 15, 6));
    if (broken != null) {
      parts.push(segment("broken", across(broken), 15, place(last), 15));
      parts.push(`<path class="cross" d="M${across(broken) - 5} 10l10 10m0-10l-10 10"/>`);
    }
    svg.setAttribute("viewBox", `0 0 ${w} 48`);
    svg.innerHTML = parts.join("");
    const words = [];
    if (radius != null) words.push(`No change up to ε = ${Math.floor(radius * 1e4) / 1e4} can fool it (proved, ○).`);
    if (attack.certified === null) words.push(`Nothing is proved: ${attack.not_certified}.`);
    if (broken === 0) words.push("The model misclassifies this image without any attack.");
    else words.push(broken == null ? "No attack of this page fools it." : `An attack of this page fools it at ε = ${short(broken)} (✗).`);
    $("bracket").textContent = words.join(" ");
  }

  function drawImages(t, bound) {
    const pixels = at("attack/image", state.image), change = changeAt(t);
    const blank = colour("page"), more = colour("orange"), less = colour("blue");
    const attacked = pixels.map((value, p) => clamp(Math.round(value + 255 * bound * change(p)), 0, 255));
    paint($("clean"), [height, width], (n) => grey(pixels, n));
    paint($("attacked"), [height, width], (n) => grey(attacked, n));
    paint($("change"), [height, width], (n) => {
      let share = 0;
      for (let c = 0; c < channels; c++) share += change(channels * n + c) / channels;
      return mixed(blank, share > 0 ? more : less, Math.abs(share));
    });
  }

  // The change of each pixel at a step, from -1 to 1, in units of ε.
  function changeAt(t) {
    const count = attack.methods[method()] + 1, all = now("change");
    return (pixel) => all[pixel * count + t] / 127;
  }

  function drawOutputs(t, right, answer) {
    const count = attack.methods[method()] + 1, unit = attack.units.output, all = now("output");
    const range = around(Array.from(all, (value) => value * unit)), row = attack.classes > 12 ? 14 : 24;
    const svg = $("outputs"), w = svg.clientWidth || 300, h = row * attack.classes + 8;
    const across = (value) => 26 + ((value - range[0]) / (range[1] - range[0])) * (w - 26 - 124);
    const parts = [segment("axis", across(0), 2, across(0), h - 4)];
    for (let c = 0; c < attack.classes; c++) {
      const value = all[c * count + t] * unit, y = row * c + 6, style = c === right ? "right" : c === answer ? "wrong" : "other";
      parts.push(label(18, y + row / 2 + 2, c, "end"));
      parts.push(box(`bar ${style}`, Math.min(across(0), across(value)), y, Math.abs(across(value) - across(0)), row - 6));
      const words = [signed(value), c === right ? "label" : "", c === answer ? "answer" : ""].filter(Boolean).join(" · ");
      parts.push(label(across(Math.max(value, 0)) + 5, y + row / 2 + 2, words, c === answer ? "strong" : ""));
    }
    svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    svg.setAttribute("height", h);
    svg.setAttribute("aria-label", `Outputs by class. The largest is that of ${answer}; the label is ${right}.`);
    svg.innerHTML = parts.join("");
  }

  // The margin over the steps, for each objective: the one chosen is drawn strong.
  function drawMargins(t) {
    const unit = attack.units.margin, last = attack.methods[method()], moves = steps() > 0;
    const lines = attack.objectives.map((name, o) => {
      const all = now("margin", o);
      return { name, o, values: Array.from(all, (value, n) => all[moves ? n : 0] * unit) };
    });
    const range = around(lines.flatMap((each) => each.values));
    plot("margin", { x: [0, last], y: range, height: 220, xLabel: "step", right: 96 }, (across, up) => {
      const ends = lines.map((each) => ({ ...each, y: up(each.values[last]) })).sort((one, other) => one.y - other.y);
      ends.forEach((each, n) => { if (n) each.y = Math.max(each.y, ends[n - 1].y + 15); });
      for (let n = ends.length - 1, low = up(range[0]); n >= 0; low = ends[n--].y - 15) ends[n].y = Math.min(ends[n].y, low);
      const parts = [box("below", across(0), up(0), across(last) - across(0), up(range[0]) - up(0))];
      parts.push(segment("zero", across(0), up(0), across(last), up(0)), label(across(0) + 4, up(0) + 13, "wrong", "wrong-text"));
      for (const { o, values } of lines) {
        const style = o === state.objective ? "chosen" : "faint";
        parts.push(curve(`line dash${o} ${style}`, values.map((value, n) => [across(n), up(value)])));
      }
      for (const { o, name, y } of ends) parts.push(label(across(last) + 6, y + 4, name, o === state.objective ? "strong" : ""));
      parts.push(segment("now", across(t), 10, across(t), up(range[0])), dot("dot", across(t), up(lines[state.objective].values[t]), 5));
      return parts.join("");
    });
  }

  // One dot for each unit: darker is more active; a ring where it was switched on or off since the image itself.
  function drawHidden(t) {
    if (!attack.hidden) return;
    const canvas = $("hidden-map"), shown = attack.hidden.shown, size = canvas.clientWidth || 300, dpr = window.devicePixelRatio || 1;
    const columns = Math.ceil(Math.sqrt(shown)), rows = Math.ceil(shown / columns), cell = size / columns, radius = 0.42 * cell;
    const count = attack.methods[method()] + 1, all = now("activity"), ink = colour("text"), blank = colour("page");
    canvas.width = size * dpr;
    canvas.height = cell * rows * dpr;
    const pen = canvas.getContext("2d");
    pen.scale(dpr, dpr);
    let on = 0, off = 0, active = 0;
    for (let n = 0; n < shown; n++) {
      const before = all[n * count], value = all[n * count + t];
      const x = ((n % columns) + 0.5) * cell, y = (Math.floor(n / columns) + 0.5) * cell;
      active += value > 0;
      pen.beginPath();
      pen.arc(x, y, 0.8 * radius, 0, 7);
      pen.fillStyle = `rgb(${mixed(blank, ink, value ? 0.12 + 0.88 * Math.sqrt(value / 255) : 0.05).join()})`;
      pen.fill();
      if (value > 0 === before > 0) continue;
      value > 0 ? on++ : off++;
      pen.lineWidth = Math.max(1.5, 0.16 * radius);
      pen.strokeStyle = `rgb(${colour(value > 0 ? "orange" : "blue").join()})`;
      pen.stroke();
    }
    const words = `${active} of the ${shown} drawn are active. ` +
      `Since step 0, ${on} were switched on (orange, filled) and ${off} off (blue, empty).`;
    $("hidden-words").textContent = words;
    canvas.setAttribute("aria-label", words);
  }
  return draw;
}

// -- the eyelid --------------------------------------------------------------------------------------------------------------

function eyelidTab() {
  const eyelid = page.eyelid, slider = $("lid-trial"), trials = eyelid.closure.length, bins = arrays["eyelid/lid"].shape[1];
  slider.max = trials;
  const play = player($("lid-play"), slider, 8), time = (bin) => eyelid.first + bin * eyelid.bin;
  const span = [eyelid.first - eyelid.bin, time(bins - 1)];
  const trace = (name, trial, across, up) =>
    Array.from(at(`eyelid/${name}`, trial), (value, bin) => [across(time(bin)), up(value * eyelid.units[name])]);
  const events = (across, bottom) => box("cs", across(0), 10, across(eyelid.cs) - across(0), bottom - 10) +
    segment("us", across(eyelid.us[0]), 10, across(eyelid.us[0]), bottom);
  const most = (name) => eyelid.units[name] * 32767;
  const ms = "ms since the stimulus began";

  function draw() {
    const trial = slider.value - 1, closed = Math.round(eyelid.closure[trial]);
    const words = `Trial ${trial + 1} of ${trials}, ${eyelid.phases[trial]}: the lid closes by ${closed}%.`;
    $("lid-value").textContent = `${trial + 1} of ${trials}`;
    slider.setAttribute("aria-valuetext", words);
    $("lid-said").setAttribute("aria-live", play.playing() ? "off" : "polite");
    $("lid-said").textContent = words;
    plot("lid", { x: span, y: [0, 118], height: 230, xLabel: ms, yTicks: [0, 50, 100] }, (across, up, bottom) => {
      const parts = [events(across, bottom), label(across(0) + 4, 22, "stimulus"), label(across(eyelid.us[0]) + 5, 22, "air puff")];
      for (let n = 0; n < trial; n += 10) parts.push(curve("line faint", trace("lid", n, across, up)));
      return parts.join("") + curve("line chosen dash0", trace("lid", trial, across, up));
    });
    plot("purkinje", { x: span, y: [0, 1.05 * most("purkinje")], height: 150, xLabel: ms }, (across, up, bottom) =>
      events(across, bottom) + curve("line chosen dash3", trace("purkinje", trial, across, up)));
    const error = most("climbing_fibre");
    plot("climbing", { x: span, y: [-0.2 * error, 1.05 * error], height: 150, xLabel: ms }, (across, up, bottom) =>
      events(across, bottom) + curve("line chosen dash1", trace("climbing_fibre", trial, across, up)));
    plot("closure", { x: [1, Math.max(trials, 2)], y: [0, 105], height: 170, xLabel: "trial", yTicks: [0, 50, 100] }, (across, up, bottom) => {
      const place = (n) => [across(n + 1), up(Math.max(0, eyelid.closure[n]))], [x, y] = place(trial);
      return curve("line chosen dash0", eyelid.closure.map((_, n) => place(n))) + segment("now", x, 10, x, bottom) + dot("dot", x, y, 5);
    });
  }
  slider.addEventListener("input", draw);
  slider.addEventListener("stop", draw);
  draggable("closure", slider);
  return draw;
}

// -- the pole ----------------------------------------------------------------------------------------------------------------

function poleTab() {
  const pole = page.pole, trial = $("pole-trial"), time = $("pole-time"), trials = pole.seconds.length;
  trial.max = trials;
  const play = player($("pole-play"), time, 1 / pole.step), degrees = (angle) => (180 / Math.PI) * angle;
  const value = (name, n) => (n < 0 ? 0 : at(`pole/${name}`, trial.value - 1)[n] * pole.units[name]);

  function draw() {
    const which = trial.value - 1, kept = pole.steps[which], n = Math.min(time.value, kept) - 1, seconds = pole.seconds[which];
    [time.max, time.value] = [kept, n + 1];
    const ended = n + 1 === kept && Math.abs(kept * pole.step - seconds) < 1e-6 && seconds < pole.success;
    const lasted = `${seconds >= pole.success ? "balanced for the whole" : "lasted"} ${short(seconds)} s`;
    const words = `Trial ${which + 1} of ${trials}: ${lasted}${ended ? ". Here it failed" : ""}.`;
    $("pole-trial-value").textContent = `${which + 1} of ${trials}`;
    $("pole-time-value").textContent = `${((n + 1) * pole.step).toFixed(2)} s`;
    trial.setAttribute("aria-valuetext", words);
    time.setAttribute("aria-valuetext", `${((n + 1) * pole.step).toFixed(2)} seconds`);
    $("pole-said").textContent = words + (seconds > kept * pole.step + 1e-6 ? ` Its first ${short(kept * pole.step)} s are shown.` : "");
    $("pole-said").setAttribute("aria-live", play.playing() ? "off" : "polite");
    drawCart(value("x", n), value("angle", n), value("force", n));
    drawAngle(n, kept, at("pole/angle", which));
    drawTrials(which);
  }

  function drawAngle(n, kept, angles) {
    const limit = degrees(pole.angle_limit), end = kept * pole.step, yTicks = [-limit, 0, limit].map(Math.round);
    plot("angle", { x: [0, end], y: [-1.1 * limit, 1.1 * limit], height: 170, xLabel: "seconds", yTicks }, (across, up, bottom) => {
      const place = (m) => [across((m + 1) * pole.step), up(degrees(angles[m] * pole.units.angle))], x = across((n + 1) * pole.step);
      const path = curve("line chosen dash1", Array.from({ length: kept }, (_, m) => place(m)));
      return segment("zero", across(0), up(0), across(end), up(0)) + path + segment("now", x, 10, x, bottom);
    });
  }

  function drawTrials(which) {
    const most = Math.log10(pole.success), yTicks = [-1, 0, 1, 2, 3].filter((power) => power <= most), yText = (power) => String(10 ** power);
    const range = { x: [1, Math.max(trials, 2)], y: [-1, most + 0.1], height: 170, xLabel: "trial", yTicks, yText };
    plot("lasted", range, (across, up, bottom) => {
      const places = pole.seconds.map((each, n) => [across(n + 1), up(Math.max(-1, Math.log10(each)))]), x = across(which + 1);
      return curve("line faint", places) + places.map(([x, y]) => dot("point", x, y, 2.5)).join("") + segment("now", x, 10, x, bottom);
    });
  }

  function drawCart(x, angle, force) {
    const svg = $("cart"), w = svg.clientWidth || 300, length = 2 * pole.half_length, scale = w / (2 * (pole.x_limit + length));
    const h = 1.3 * length * scale + 60, floor = h - 42, place = (metres) => w / 2 + metres * scale, limit = pole.x_limit;
    svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    svg.setAttribute("height", h);
    svg.innerHTML = [
      segment("axis", place(-limit), floor, place(limit), floor),
      ...[-limit, limit].map((end) => segment("limit", place(end), floor - 22, place(end), floor)),
      box("cart", place(x - 0.25), floor - 16, 0.5 * scale, 16),
      segment("pole", place(x), floor - 14, place(x + length * Math.sin(angle)), floor - 14 - length * scale * Math.cos(angle)),
      segment("force", place(x), floor + 9, place(x) + 4 * force, floor + 9),
      label(w / 2, floor + 32, "green: the force", "middle"),
    ].join("");
    const leaning = signed(degrees(angle));
    svg.setAttribute("aria-label", `Cart at ${signed(x)} m, pole at ${leaning} degrees, force ${signed(force)} N`);
  }
  trial.addEventListener("input", () => { play.stop(); time.value = 0; draw(); });
  time.addEventListener("input", draw);
  time.addEventListener("stop", draw);
  draggable("lasted", trial);
  return draw;
}

// -- tabs --------------------------------------------------------------------------------------------------------------------

function tabs(draws) {
  const all = [...document.querySelectorAll("[role=tab]")];
  const panel = (tab) => $(tab.getAttribute("aria-controls"));
  function show(tab) {
    for (const each of all) {
      each.setAttribute("aria-selected", each === tab);
      each.tabIndex = each === tab ? 0 : -1;
      panel(each).hidden = each !== tab;
    }
    draws[panel(tab).id]();
  }
  for (const tab of all) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1, Home: -all.indexOf(tab), End: all.length - 1 - all.indexOf(tab) }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      const next = all[(all.indexOf(tab) + move + all.length) % all.length];
      next.focus();
      show(next);
    });
  }
  const redraw = () => draws[all.map(panel).find((each) => !each.hidden).id]();
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  show(all[0]);
}

async function begin() {
  if (typeof DecompressionStream === "undefined") throw new Error("this needs a browser from 2023 or later");
  await unpack();
  $("main").hidden = false;
  tabs({ attack: attackTab(), ...(page.eyelid && { eyelid: eyelidTab() }), ...(page.pole && { pole: poleTab() }) });
  $("message").hidden = true;
}

begin().catch((error) => { $("message").textContent = `The page cannot be shown: ${error.message}.`; throw error; });
