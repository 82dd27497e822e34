// The page of the user study. Only the server knows what a picture is; this shows picture 0 (the
// source) and 1 to N, and sends the number that was chosen.

const $ = (id) => document.getElementById(id);
const PAUSE = 250; // ms for which a double click or a held key does not answer the next question

const person = location.pathname.startsWith('/p/') ? location.pathname.replace(/\/$/, '') : null;
let state = null;
let busy = true;
let ready = new Map(); // loaded pictures by address, this question's and the next one's

async function ask(path, body) {
  const options = body && {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error('The server of the study does not answer. Is it still running? Try again.');
  }
  if (!response.ok) throw new Error(`The request failed: ${await response.text()}`);
  return response.json();
}

function notify(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

function show(id) {
  for (const part of ['welcome', 'question', 'thanks']) $(part).hidden = part !== id;
}

function setQuestion(text) {
  for (const place of document.querySelectorAll('.asked')) place.textContent = text;
}

// -- start ---------------------------------------------------------------------------------------

async function welcome() {
  const study = await ask('/study');
  setQuestion(study.question);
  $('total').textContent = study.total;
  $('methods').textContent = study.methods;
  if (study.resume) {
    $('resume').href = study.resume;
    $('resume').hidden = false;
    $('begin').textContent = 'Begin as another person';
    $('begin').classList.add('quiet');
  }
  show('welcome');
}

async function start(event) {
  event.preventDefault();
  $('begin').disabled = true;
  try {
    location.assign((await ask('/start', { name: $('name').value })).page);
  } catch (error) {
    notify(error.message);
    $('begin').disabled = false;
  }
}

// -- questions -----------------------------------------------------------------------------------

function load(address) {
  if (!ready.has(address)) {
    const image = new Image();
    image.src = address;
    ready.set(address, image);
  }
  return ready.get(address);
}

function tile(slot) {
  const element = document.createElement(slot ? 'button' : 'figure');
  element.className = 'picture';
  element.append(new Image(), document.createElement('span'));
  element.lastChild.textContent = slot || 'Source';
  if (slot) {
    element.setAttribute('aria-label', `Picture ${slot}`);
    element.addEventListener('click', () => choose(slot));
  }
  return element;
}

// The largest side for which all squares fit; below a limit the page scrolls instead.
function fit() {
  const stage = $('stage');
  const style = getComputedStyle(document.documentElement);
  const rem = parseFloat(style.fontSize);
  const gap = 0.75 * rem;
  const caption = 1.75 * rem;
  const count = $('pictures').children.length;
  const width = stage.clientWidth - 8;
  const height = stage.clientHeight - 8;
  let best = { side: 0, columns: 1 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - gap * (columns - 1)) / columns;
    const down = (height - gap * (rows - 1)) / rows - caption;
    const side = Math.floor(Math.min(across, down, 640));
    if (side > best.side) best = { side, columns };
  }
  if (best.side < 120) {
    const columns = Math.min(2, count);
    best = { side: Math.floor((width - gap * (columns - 1)) / columns), columns };
  }
  $('pictures').style.setProperty('--side', `${best.side}px`);
  $('pictures').style.setProperty('--columns', best.columns);
}

function setBusy(now) {
  busy = now;
  $('pictures').setAttribute('aria-busy', now);
}

async function render(next) {
  state = next;
  setQuestion(state.question);
  if (state.index === state.total) {
    $('answers').textContent = state.total;
    show('thanks');
    setBusy(false);
    return;
  }
  const images = state.pictures.map(load);
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    throw new Error('A picture of this question could not be loaded. Reload the page.');
  }
  const pictures = $('pictures');
  if (!pictures.children.length) pictures.append(...images.map((_, slot) => tile(slot)));
  images.forEach((image, slot) => {
    image.alt = slot ? `Picture ${slot}` : 'Source picture';
    image.draggable = false;
    pictures.children[slot].firstChild.replaceWith(image);
    pictures.children[slot].classList.remove('chosen');
  });
  $('bar').max = state.total;
  $('bar').value = state.index;
  $('progress').textContent = `${state.index + 1} of ${state.total}`;
  $('back').disabled = state.index === 0;
  const last = state.pictures.length - 1;
  $('keys').textContent = `Keys 1 to ${last} choose, ← or Backspace goes back.`;
  show('question');
  fit();
  // Drop pictures that are no longer shown, and preload the next question's.
  const wanted = [...state.pictures, ...state.next];
  ready = new Map([...ready].filter(([address]) => wanted.includes(address)));
  state.next.forEach(load);
  setTimeout(() => setBusy(false), PAUSE);
}

// Sends an answer or undoes one, then shows the person's progress.
async function send(action, body, refused) {
  setBusy(true);
  notify('');
  let next;
  try {
    next = await ask(`${person}/${action}`, body);
  } catch (error) {
    notify(error.message);
    for (const element of $('pictures').children) element.classList.remove('chosen');
    setBusy(false);
    return;
  }
  if (!next.stored) notify(refused);
  try {
    await render(next);
  } catch (error) {
    notify(error.message); // stay busy: the old pictures must not answer the new question
  }
}

function choose(slot) {
  if (busy) return;
  $('pictures').children[slot].classList.add('chosen');
  send('vote', { question: state.index, slot }, 'That question was answered already in another window.');
}

function back() {
  if (busy || state.index === 0) return;
  send('undo', { question: state.index - 1 }, 'Nothing was undone: you continued in another window.');
}

function press(event) {
  if (!state || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === 'Backspace' || event.key === 'ArrowLeft') {
    event.preventDefault();
    back();
  } else if (/^[1-9]$/.test(event.key) && Number(event.key) < state.pictures.length) {
    choose(Number(event.key));
  }
}

try {
  if (person) {
    $('back').addEventListener('click', back);
    $('change').addEventListener('click', back);
    document.addEventListener('keydown', press);
    new ResizeObserver(fit).observe($('stage'));
    await render(await ask(`${person}/state`));
  } else {
    $('start').addEventListener('submit', start);
    await welcome();
  }
} catch (error) {
  notify(error.message);
}
