// Names of files and labels are only ever written as text: whatever they hold, they are no part of the page.

const AT_A_TIME = 4; // as many questions are under way
const element = (id) => document.getElementById(id);
const waiting = []; // [file, its name, its card]
const counts = new Map(); // label -> pictures that it was the answer to
const state = { asked: 0, answered: 0, refused: 0, leftOut: 0, unread: 0, running: 0 };

function offer(label) { // for the box in which the right label is typed
  if (![...element("labels").children].some((option) => option.value === label)) {
    element("labels").append(new Option(label, label));
  }
}

function add(files) { // the newest are on top, in their own order
  const cards = files.filter(([file, name]) => mayBePicture(file, name)).map(([file, name]) => {
    const card = element("card").content.firstElementChild.cloneNode(true);
    card.querySelector(".file").textContent = name;
    const image = card.querySelector("img");
    image.loading = "lazy";
    image.onerror = () => { // HEIC and TIFF, for example, which the endpoint reads all the same
      const none = document.createElement("div");
      none.className = "none";
      none.textContent = "not shown by this browser";
      image.replaceWith(none);
    };
    image.src = URL.createObjectURL(file);
    card.querySelector("form").onsubmit = (event) => { event.preventDefault(); keep(file, card); };
    waiting.push([file, name, card]);
    return card;
  });
  state.asked += cards.length;
  const fragment = document.createDocumentFragment();
  cards.forEach((card) => fragment.append(card));
  element("answers").prepend(fragment);
  state.leftOut += files.length - cards.length;
  summarise();
  while (state.running < AT_A_TIME && waiting.length) ask();
}

function mayBePicture(file, name) { // what desktops leave, and what the browser knows to be something else, is not
  const hidden = name.split("/").some((part) => part.startsWith("."));
  return !hidden && (file.type === "" || file.type.startsWith("image/"));
}

async function post(place, file) {
  try {
    const type = file.type || "application/octet-stream";
    const response = await fetch(place, { method: "POST", body: file, headers: { "Content-Type": type } });
    return await response.json();
  } catch {
    return { error: "this page's program does not answer; start byoc try again" };
  }
}

async function ask() {
  state.running += 1;
  const [file, name, card] = waiting.shift();
  const { answer, error, seconds } = await post("answers", file);
  if (error !== undefined) {
    state.refused += 1;
    verdict(card, error, true);
  } else {
    state.answered += 1;
    show(card, answer);
    card.querySelector(".time").textContent = `, ${Math.round(seconds * 1000)} ms`;
  }
  summarise();
  state.running -= 1;
  if (waiting.length) ask();
}

function verdict(card, text, refused) {
  card.querySelector(".verdict").textContent = text;
  card.querySelector(".verdict").classList.toggle("refused", refused);
}

function show(card, answer) {
  const classes = answer.top_k;
  const ours = Array.isArray(classes) && classes.length
    && classes.every((row) => typeof row?.label === "string" && typeof row.probability === "number");
  if (!ours) { // the answer of a handler of the user's own
    verdict(card, JSON.stringify(answer), false);
    return;
  }
  verdict(card, answer.label ?? "unsure", false);
  for (const { label, probability } of classes) {
    const row = card.querySelector(".bars").insertRow();
    row.insertCell().textContent = label;
    const bar = document.createElement("i");
    bar.style.width = `${100 * probability}%`;
    const meter = document.createElement("span");
    meter.className = "meter";
    meter.append(bar);
    row.insertCell().append(meter);
    const figure = row.insertCell();
    figure.className = "n";
    figure.textContent = `${(100 * probability).toFixed(1)} %`;
    offer(label);
  }
  const label = answer.label ?? "unsure";
  counts.set(label, (counts.get(label) ?? 0) + 1);
}

function summarise() {
  const { asked, leftOut, unread } = state;
  const said = [`${state.answered} of ${asked} answered`];
  if (state.refused) said.push(`${state.refused} refused`);
  if (leftOut) said.push(`${leftOut} left out, which ${leftOut === 1 ? "is no picture" : "are no pictures"}`);
  if (unread) said.push(`${unread} that the browser cannot read`);
  element("summary").textContent = asked + leftOut + unread ? said.join(", ") : "";
  const most = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 12);
  element("labels-seen").replaceChildren(...(state.answered > 1 ? most : []).map(([label, count]) => {
    const item = document.createElement("li");
    const name = document.createElement("bdi"); // of letters of any direction
    name.textContent = label;
    item.append(name, ` ${count}`);
    return item;
  }));
}

async function keep(file, card) {
  const label = card.querySelector("input").value;
  const { file: kept, error } = await post(`kept?label=${encodeURIComponent(label)}`, file);
  const output = card.querySelector("output");
  output.textContent = error ?? `kept as ${kept}`;
  output.classList.toggle("refused", error !== undefined);
  if (error === undefined) offer(label);
}

async function gather(entry, files, folder = "") { // adds the files below what was dropped
  const name = folder + entry.name;
  try {
    if (entry.isFile) files.push([await new Promise((done, fail) => entry.file(done, fail)), name]);
    const reader = entry.isFile ? null : entry.createReader();
    for (let more = reader !== null; more;) { // a folder is read in parts
      const entries = await new Promise((done, fail) => reader.readEntries(done, fail));
      for (const below of entries) await gather(below, files, `${name}/`);
      more = entries.length > 0;
    }
  } catch { // what the browser may not read is no reason to lose the others
    state.unread += 1;
  }
}

document.ondragover = (event) => { event.preventDefault(); element("drop").classList.add("over"); };
document.ondragleave = (event) => { if (!event.relatedTarget) element("drop").classList.remove("over"); };
document.ondrop = async (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = [];
  for (const entry of entries) await gather(entry, files);
  add(files);
};
document.onpaste = (event) => add([...event.clipboardData.files].map((file) => [file, file.name]));
for (const input of [element("files"), element("folder")]) {
  input.onchange = () => {
    add([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
    input.value = "";
  };
}

const settings = await (await fetch("settings")).json();
element("endpoint").textContent = `The endpoint ${settings.endpoint} ${settings.where} answers. `
  + `Pictures that you keep go to ${settings.folder}, a folder for training.`;
settings.labels.forEach(offer);
