// The page of `ugatit web`. A picture goes to the server as it is, without its name; the answer is
// kept in this page only.

import { zip } from './zip.js';

const $ = (id) => document.getElementById(id);
const MOST = 200; // pictures at a time; each keeps some megabytes in this page
const SIZES = {
  resize: (sides) => `Whole picture, soft above ${sides}`,
  crop: (sides, part) => `Middle ${part} only, the rest stays`,
  pad: () => 'Whole picture, not squeezed: softer',
  keep: () => 'Own size, sharpest (slow)',
  tiles: () => (model.sizes.includes('keep') ? 'Own size in tiles, sharp' : 'Own size in tiles, sharpest'),
};

let model = null;
let pictures = []; // { blob, label, stem, refused, error, result } each
let current = null; // the one of them that is shown
let request = null; // an AbortController while pictures are translated
let follow = false; // show each picture once it is translated
let shown = null; // the parts of the overlay

function say(text) {
  $('status').textContent = text;
  $('problem').textContent = '';
}

function complain(text) {
  $('status').textContent = '';
  $('problem').textContent = text;
}

// Gives an element a blob to show or to save, in place of its old one.
function give(element, blob) {
  const property = element instanceof HTMLImageElement ? 'src' : 'href';
  if (element[property].startsWith('blob:')) URL.revokeObjectURL(element[property]);
  element[property] = URL.createObjectURL(blob);
  element.hidden = false;
}

function decode(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type });
}

function toPng(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve));
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer. Is it still running?');
  }
  if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
  return response;
}

// -- choosing pictures ---------------------------------------------------------------------------

const target = () => document.querySelector('[name=to]:checked').value;
const other = (letter) => (letter === 'A' ? 'B' : 'A');

// Replaces all earlier pictures; each is { blob, label, stem }, the stem for the names of saved files.
function choose(chosen) {
  if (!chosen.length) return;
  if (chosen.length > MOST) {
    complain(`These are ${chosen.length} pictures; at most ${MOST} at a time. Choose fewer, or use ugatit translate.`);
    return;
  }
  request?.abort();
  request = null;
  pictures = chosen;
  for (const picture of pictures) picture.refused = tooLarge(picture);
  list();
  say('');
  select(pictures[0]);
}

function tooLarge({ blob, label }) {
  if (blob.size <= model.upload) return '';
  const [has, may] = [blob.size, model.upload].map((bytes) => Number((bytes / 1e6).toPrecision(3)));
  return `${label} is too large: it has ${has} MB and may have ${may}. Choose a smaller one.`;
}

function chooseFiles(files) {
  choose(files.map((file) => ({ blob: file, label: file.name, stem: file.name.replace(/\.[^.]*$/, '') })));
}

async function chooseExample(number, name) {
  try {
    const blob = await (await answer(`/example/${number}`)).blob();
    choose([{ blob, label: `Example: ${name}`, stem: name.replace(', ', '_') }]);
  } catch (error) {
    complain(error.message);
  }
}

function list() {
  const rows = pictures.map((picture) => {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    picture.state = document.createElement('span');
    button.append(Object.assign(document.createElement('span'), { textContent: picture.label }), picture.state);
    button.addEventListener('click', () => {
      follow = false;
      select(picture);
    });
    const row = document.createElement('li');
    row.append(button);
    return row;
  });
  const several = rows.length > 1;
  $('pictures').replaceChildren(...(several ? rows : []));
  $('pictures').hidden = !several;
  $('chosen').textContent = several ? `${rows.length} pictures` : pictures[0].label;
}

function select(picture) {
  current = picture;
  $('hint').hidden = true;
  give($('source'), picture.result?.source ?? picture.blob); // also where the browser cannot read it
  clear();
  update();
  return picture.result && show(picture);
}

function clear() {
  shown = null;
  for (const id of ['compare', 'save-translation', 'overlay', 'strengths']) $(id).hidden = true;
  for (const place of document.querySelectorAll('#results .frame > span')) place.hidden = false;
}

// Updates what depends on the pictures and on whether some are being translated.
function update() {
  const several = pictures.length > 1;
  const done = pictures.filter((picture) => picture.result);
  for (const picture of pictures) {
    const reason = picture.refused || picture.error;
    picture.state.textContent = reason || (picture.result ? 'translated' : '');
    picture.state.className = reason ? 'wrong' : 'faint';
    picture.state.parentElement.setAttribute('aria-current', picture === current);
  }
  const ready = pictures.filter((picture) => !picture.refused).length;
  const count = ready === pictures.length ? `${ready} pictures` : `${ready} of ${pictures.length}`;
  $('translate').textContent = several ? `Translate ${count}` : 'Translate';
  $('translate').setAttribute('aria-disabled', Boolean(request) || !ready);
  if (!ready) complain(several ? 'None of these pictures can be translated; the list says why.' : pictures[0].refused);
  $('results').setAttribute('aria-busy', Boolean(request));
  if (!request && document.activeElement === $('stop')) $('translate').focus();
  $('stop').hidden = !request;
  $('progress').hidden = !request || !several;
  $('save-all').hidden = done.length < 2;
  $('save-all').textContent = `Save all ${done.length} as a zip`;
  $('again').hidden = !done.length || model.targets.length < 2;
  $('again').textContent = done.length > 1 ? `Use all ${done.length} as sources` : 'Use as the source';
}

// The translations become the sources, and the direction flips.
function useAgain() {
  const chosen = pictures.filter(({ result }) => result).map(({ label, stem, result }) => {
    const domain = model.domains[result.to];
    return { blob: result.translation, label: `${label} as ${domain}`, stem: `${stem}_${domain}`, to: other(result.to) };
  });
  document.querySelector(`[name=to][value=${chosen[0].to}]`).checked = true;
  sortExamples();
  choose(chosen);
  if (!current.refused) say(`Ready to translate ${chosen.length > 1 ? 'them' : 'it'} to ${model.domains[target()]}.`);
  $('translate').focus();
}

// -- the camera ----------------------------------------------------------------------------------

async function openCamera() {
  if (!navigator.mediaDevices) {
    // Not over plain HTTP from another machine; a phone opens its own camera instead.
    $('shot').click();
    return;
  }
  $('take').disabled = true; // until there is something to take
  try {
    $('video').srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    complain(`The camera cannot be used (${error.message}). Choose a picture instead.`);
    return;
  }
  $('camera').showModal();
}

function closeCamera() {
  $('camera').close(); // its event, also that of the Escape key, comes later and finds all closed
  for (const track of $('video').srcObject?.getTracks() ?? []) track.stop();
  $('video').srcObject = null;
}

async function take() {
  const video = $('video');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext('2d').drawImage(video, 0, 0);
  const blob = await toPng(canvas);
  closeCamera();
  choose([{ blob, label: 'From the camera', stem: 'camera' }]);
}

// -- translating ---------------------------------------------------------------------------------

async function translate(event) {
  event.preventDefault();
  if (request) return;
  if (!pictures.length) complain('Choose a picture first.');
  const style = model.styles ? `&style=${$('style').value}` : '';
  const to = target();
  const path = `/translate?to=${to}&size=${$('size').value}${style}`;
  for (const picture of pictures) {
    picture.error = '';
    if (picture.result?.path !== path) picture.result = null;
  }
  const willing = pictures.filter((picture) => !picture.refused);
  const left = willing.filter((picture) => !picture.result); // after a stop, what was not reached
  const todo = left.length ? left : willing;
  if (!todo.length) return;
  const mine = (request = new AbortController());
  follow = true;
  let end = ''; // why it ended before all were translated
  $('progress').max = todo.length;
  update();
  for (const [number, picture] of todo.entries()) {
    $('progress').value = number;
    say(pictures.length > 1 ? `Translating ${number + 1} of ${todo.length}…` : 'Translating…');
    try {
      const result = await translateOne(picture.blob, path, mine.signal);
      picture.result = { ...result, path, to };
    } catch (error) {
      if (request !== mine) return; // other pictures replaced these
      const stopped = error.name === 'AbortError';
      if ([400, 413, 415].includes(error.status)) picture.refused = error.message;
      else if (error.status === 500 || error.unreadable) picture.error = error.message;
      else end = stopped ? 'Stopped.' : error.message; // busy or gone: the others would fail, too
    }
    if (request !== mine) return;
    if (end) break;
    await (picture.result && (follow || picture === current) ? select(picture) : update());
    if (request !== mine) return;
    if (follow) $('pictures').scrollTop = picture.state.closest('li').offsetTop - $('pictures').clientHeight / 2;
    if (number === 0 && picture.result) scrollTo($('translated'));
  }
  request = null;
  await (current.result ? update() : select(current));
  report(model.domains[to], end);
}

function report(domain, end) {
  const done = pictures.filter((picture) => picture.result).length;
  const reasons = pictures.map((picture) => picture.refused || picture.error).filter(Boolean);
  if (pictures.length > 1) {
    say(`Translated to ${domain}: ${done} of ${pictures.length} pictures.`);
    if (reasons.length) end ||= `${reasons.length} could not be translated; the list says why.`;
  } else if (done) {
    const { original, width, height, seconds } = pictures[0].result;
    const reduced =
      width === original[0]
        ? ''
        : ` The picture was reduced from ${original.join(' × ')} to ${width} × ${height} first.`;
    say(`Translated to ${domain} in ${seconds.toPrecision(2)} s.${reduced}`);
  } else say('');
  $('problem').textContent = end || (pictures.length === 1 ? (reasons[0] ?? '') : '');
}

async function translateOne(blob, path, signal) {
  let body;
  try {
    body = await blob.arrayBuffer();
  } catch {
    const error = new Error('This file cannot be read. Is it a folder, or was it moved? Choose it again.');
    throw Object.assign(error, { unreadable: true });
  }
  const type = blob.type.startsWith('image/') ? blob.type : 'application/octet-stream';
  const options = { method: 'POST', headers: { 'Content-Type': type }, body, signal };
  const result = await (await answer(path, options)).json();
  result.source = decode(result.source, 'image/jpeg');
  result.translation = decode(result.translation, 'image/png');
  result.heatmap &&= decode(result.heatmap, 'image/png');
  return result;
}

async function show(picture) {
  const { stem, result } = picture;
  const bitmaps = [result.source, result.heatmap].map((blob) => blob && createImageBitmap(blob));
  const [source, heatmap] = await Promise.all(bitmaps);
  if (picture !== current || result !== picture.result) return;
  const domain = model.domains[result.to];
  $('translation').alt = `Your picture as ${domain}`;
  give($('translation'), result.translation);
  give($('before'), result.source);
  $('is-source').textContent = model.domains[other(result.to)];
  $('is-translation').textContent = domain;
  $('compare').style.setProperty('--aspect', result.width / result.height);
  $('compare').hidden = false;
  divide();
  give($('save-translation'), result.translation);
  $('save-translation').download = `${stem}_${domain}.png`;
  if (heatmap) {
    give($('save-heatmap'), result.heatmap);
    $('save-heatmap').download = `${stem}_${domain}_heatmap.png`;
    $('save-overlay').dataset.name = `${stem}_${domain}_overlay.png`;
    shown = { source, heatmap: coloured(heatmap) };
    draw();
    $('overlay').hidden = $('strengths').hidden = false;
  }
  for (const frame of document.querySelectorAll('#results .frame')) {
    frame.lastElementChild.hidden = !frame.firstElementChild.hidden;
  }
}

function scrollTo(element) {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
}

// How much of the source lies over the translation, from the left.
function divide() {
  const percent = Number($('share').value);
  const [from, to] = [$('is-source'), $('is-translation')];
  $('compare').style.setProperty('--share', `${percent}%`);
  $('share').setAttribute('aria-valuetext', `${percent} % ${from.textContent}, ${100 - percent} % ${to.textContent}`);
  from.hidden = percent < 25;
  to.hidden = percent > 75;
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveAll() {
  const files = new Map(); // by names that differ on every system
  const done = pictures.filter((picture) => picture.result);
  for (const { stem, result } of done) {
    const name = `${stem}_${model.domains[result.to]}`.replace(/[\\/:*?"<>|]/g, '_');
    let unique = name;
    for (let number = 2; files.has(unique.toLowerCase()); number++) unique = `${name}_${number}`;
    files.set(unique.toLowerCase(), [`${unique}.png`, result.translation]);
  }
  const [{ result }] = done;
  try {
    const name = `${model.domains[other(result.to)]}2${model.domains[result.to]}.zip`;
    save(await zip([...files.values()]), name);
  } catch (error) {
    complain(error.message);
  }
}

// -- the overlay ---------------------------------------------------------------------------------

// From blue (0) over green to red (1): the colour map "jet".
function jet(value) {
  return [3, 2, 1].map((centre) => 255 * Math.min(1, Math.max(0, 1.5 - Math.abs(4 * value - centre))));
}

function coloured(grey) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [grey.width, grey.height];
  const context = canvas.getContext('2d');
  context.drawImage(grey, 0, 0);
  const pixels = context.getImageData(0, 0, grey.width, grey.height);
  const table = Array.from({ length: 256 }, (_, value) => jet(value / 255));
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(table[pixels.data[i]], i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function draw() {
  const percent = Number($('strength').value);
  $('percent').textContent = `${percent} %`;
  if (!shown) return;
  const canvas = $('overlay');
  [canvas.width, canvas.height] = [shown.source.width, shown.source.height];
  const context = canvas.getContext('2d');
  context.drawImage(shown.source, 0, 0);
  context.globalAlpha = percent / 100;
  context.drawImage(shown.heatmap, 0, 0);
}

async function saveOverlay() {
  const { name } = $('save-overlay').dataset; // before another picture replaces it
  save(await toPng($('overlay')), name);
}

// -- the start -----------------------------------------------------------------------------------

function fillIn() {
  const { A, B } = model.domains;
  const directions = [['B', A, B], ['A', B, A]].filter(([letter]) => model.targets.includes(letter));
  const [[, from, to]] = directions;
  const back = directions.length > 1 ? ', and back' : '';
  document.title = $('title').textContent = `${from} to ${to}${back}`;
  $('about').textContent = model.about;
  $('about').hidden = !model.about;
  $('attention').hidden = !model.attention;
  document.querySelector('[for=style]').hidden = $('style').hidden = !model.styles;
  $('style').disabled = !model.styles; // a hidden field is not validated
  for (const [letter, from, to] of directions) {
    const label = document.createElement('label');
    const input = document.createElement('input');
    Object.assign(input, { type: 'radio', name: 'to', value: letter, checked: letter === model.to });
    label.append(input, `${from} to ${to}`);
    $('directions').append(label);
  }
  const [height, width] = model.size_of_network;
  const square = height === width;
  const sides = square ? `${width} px` : `${width} × ${height} px`;
  for (const size of model.sizes) {
    const label = SIZES[size]?.(sides, square ? 'square' : 'rectangle') ?? size;
    $('size').append(new Option(label, size));
  }
  model.examples.forEach(({ name, domains }, number) => {
    const image = Object.assign(new Image(), { src: `/example/${number}`, alt: `Example: ${name}` });
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.append(image);
    button.addEventListener('click', () => chooseExample(number, name));
    const item = document.createElement('li');
    item.dataset.domains = domains;
    item.append(button);
    document.querySelector('#examples ul').append(item);
  });
  sortExamples();
  $('examples').hidden = !model.examples.length;
  $('limits').textContent =
    `Pictures may have ${model.upload / 1e6} MB and ${model.pixels / 1e6} million pixels; one with ` +
    `a side above ${model.side} pixels is reduced to that first. Nothing is stored: a picture is ` +
    'forgotten as soon as its translation is sent back. Examples: scikit-image, scikit-learn.';
  $('overlay').setAttribute('aria-label', 'Your picture under a heatmap of where the network looked');
  const colours = $('colours').getContext('2d');
  for (let x = 0; x < 256; x++) {
    colours.fillStyle = `rgb(${jet(x / 255)})`;
    colours.fillRect(x, 0, 1, 1);
  }
}

// Examples of the source's domain first.
function sortExamples() {
  const items = [...document.querySelectorAll('#examples li')];
  const ours = (item) => item.dataset.domains.includes(other(target()));
  items[0]?.parentElement.append(...items.filter(ours), ...items.filter((item) => !ours(item)));
}

function listen() {
  for (const id of ['file', 'shot']) {
    $(id).addEventListener('change', () => {
      chooseFiles([...$(id).files]);
      $(id).value = ''; // so that the same file can be chosen again
    });
  }
  $('source').addEventListener('error', () => {
    $('source').hidden = true;
    $('hint').hidden = false;
  });
  let depth = 0; // of the elements that the drag has entered
  const dragging = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle('dragging', depth > 0);
  };
  addEventListener('dragenter', () => dragging(1));
  addEventListener('dragleave', () => dragging(-1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    dragging(-Infinity);
    const files = [...event.dataTransfer.files];
    if (files.length) chooseFiles(files);
    else complain('Drop the file of a picture; save it first if it is on another page.');
  });
  addEventListener('paste', (event) => chooseFiles([...event.clipboardData.files]));
  $('use-camera').addEventListener('click', openCamera);
  $('take').addEventListener('click', take);
  $('video').addEventListener('loadeddata', () => ($('take').disabled = false));
  $('cancel').addEventListener('click', closeCamera);
  $('camera').addEventListener('close', closeCamera);
  $('form').addEventListener('submit', translate);
  $('strength').addEventListener('input', draw);
  $('save-overlay').addEventListener('click', saveOverlay);
  $('directions').addEventListener('change', sortExamples);
  $('stop').addEventListener('click', () => request?.abort());
  $('share').addEventListener('input', divide);
  $('save-all').addEventListener('click', saveAll);
  $('again').addEventListener('click', useAgain);
}

try {
  model = await (await answer('/model')).json();
  fillIn();
  listen();
} catch (error) {
  complain(error.message);
}
