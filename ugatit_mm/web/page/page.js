// The page of `ugatit web`. A picture goes to the server as it is, with nothing of its name; what
// comes back is kept in this page alone.

const $ = (id) => document.getElementById(id);
const SIZES = {
  resize: ([height, width]) => `Squeeze it to ${width} × ${height}`,
  crop: ([height, width]) => `Translate the ${height === width ? 'square' : 'part'} in its middle`,
  pad: ([height, width]) => `Reflect its edges to a ${height === width ? 'square' : 'rectangle'}`,
  keep: () => 'Keep it as it is (slow)',
  tiles: () => 'Keep it as it is, part by part (slow)',
};

let model = null;
let picture = null; // a Blob
let name = ''; // of what is saved
let request = null; // an AbortController while one is under way
let shown = null; // the parts of the overlay

function say(text) {
  $('status').textContent = text;
  $('problem').textContent = '';
}

function complain(text) {
  $('status').textContent = '';
  $('problem').textContent = text;
}

// Gives an element a blob to show or to save, in the place of the one it had.
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
  if (!response.ok) throw new Error(await response.text());
  return response;
}

// -- choosing a picture --------------------------------------------------------------------------

function choose(file, label, stem) {
  if (!file) return;
  if (file.size > model.upload) {
    const [has, may] = [file.size, model.upload].map((bytes) => Number((bytes / 1e6).toPrecision(3)));
    complain(`${label} is too large: it has ${has} MB and may have ${may}. Choose a smaller one.`);
    return;
  }
  request?.abort();
  request = null;
  busy(false);
  picture = file;
  name = stem || 'picture';
  $('chosen').textContent = label;
  $('hint').hidden = true;
  give($('source'), file);
  clear();
  say('');
}

function clear() {
  shown = null;
  for (const id of ['translation', 'save-translation', 'overlay', 'strengths']) $(id).hidden = true;
  for (const place of document.querySelectorAll('#results .frame span')) place.hidden = false;
  $('translate').setAttribute('aria-disabled', !picture);
}

function chooseFile(files) {
  if (!files.length) return;
  const [file] = files;
  choose(file, file.name, file.name.replace(/\.[^.]*$/, ''));
  if (files.length > 1 && picture === file) say(`The first of ${files.length} pictures was taken.`);
}

async function chooseExample(number, label) {
  try {
    choose(await (await answer(`/example/${number}`)).blob(), `Example: ${label}`, label);
  } catch (error) {
    complain(error.message);
  }
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
  choose(blob, 'From the camera', 'camera');
}

// -- translating ---------------------------------------------------------------------------------

async function translate(event) {
  event.preventDefault();
  if (!picture) complain('Choose a picture first.');
  if (!picture || request) return;
  const mine = (request = new AbortController());
  const to = document.querySelector('[name=to]:checked').value;
  const type = picture.type.startsWith('image/') ? picture.type : 'application/octet-stream';
  busy(true);
  say('Translating…');
  try {
    const style = model.styles ? `&style=${$('style').value}` : '';
    const response = await answer(`/translate?to=${to}&size=${$('size').value}${style}`, {
      method: 'POST',
      headers: { 'Content-Type': type },
      body: picture,
      signal: mine.signal,
    });
    const result = await unpack(await response.json());
    if (request === mine) show(result, model.domains[to]);
  } catch (error) {
    if (request === mine && error.name !== 'AbortError') complain(error.message);
  } finally {
    if (request === mine) {
      request = null;
      busy(false);
    }
  }
}

function busy(now) {
  $('results').setAttribute('aria-busy', now);
  $('translate').setAttribute('aria-disabled', now || !picture);
}

async function unpack(result) {
  result.source = decode(result.source, 'image/jpeg');
  result.translation = decode(result.translation, 'image/png');
  result.heatmap &&= decode(result.heatmap, 'image/png');
  const bitmaps = [result.source, result.heatmap].map((blob) => blob && createImageBitmap(blob));
  [result.sourceBitmap, result.heatmapBitmap] = await Promise.all(bitmaps);
  return result;
}

function show(result, domain) {
  clear();
  give($('source'), result.source); // as the network saw it, also where the browser cannot read it
  $('hint').hidden = true;
  $('translation').alt = `Your picture as ${domain}`;
  give($('translation'), result.translation);
  give($('save-translation'), result.translation);
  $('save-translation').download = `${name}_${domain}.png`;
  if (result.heatmap) {
    give($('save-heatmap'), result.heatmap);
    $('save-heatmap').download = `${name}_${domain}_heatmap.png`;
    $('save-overlay').dataset.name = `${name}_${domain}_overlay.png`;
    shown = { source: result.sourceBitmap, heatmap: coloured(result.heatmapBitmap) };
    draw();
    $('overlay').hidden = $('strengths').hidden = false;
  }
  for (const frame of document.querySelectorAll('#results .frame')) {
    frame.lastElementChild.hidden = !frame.firstElementChild.hidden;
  }
  const [width, height] = result.original;
  const reduced =
    width === result.width
      ? ''
      : ` The picture was reduced from ${width} × ${height} to ${result.width} × ${result.height} first.`;
  say(`Translated to ${domain} in ${result.seconds.toPrecision(2)} s.${reduced}`);
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  $('translated').scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
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
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await toPng($('overlay')));
  link.download = $('save-overlay').dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
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
  $('style').disabled = !model.styles; // a field that nobody sees is not checked
  for (const [letter, from, to] of directions) {
    const label = document.createElement('label');
    const input = document.createElement('input');
    Object.assign(input, { type: 'radio', name: 'to', value: letter, checked: letter === model.to });
    label.append(input, `${from} to ${to}`);
    $('directions').append(label);
  }
  for (const size of model.sizes) $('size').append(new Option(SIZES[size](model.size_of_network), size));
  model.examples.forEach((label, number) => {
    const image = Object.assign(new Image(), { src: `/example/${number}`, alt: `Example: ${label}` });
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.append(image);
    button.addEventListener('click', () => chooseExample(number, label));
    const item = document.createElement('li');
    item.append(button);
    document.querySelector('#examples ul').append(item);
  });
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

function listen() {
  for (const id of ['file', 'shot']) {
    $(id).addEventListener('change', () => {
      chooseFile([...$(id).files]);
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
    if (files.length) chooseFile(files);
    else complain('Drop the file of a picture; save it first if it is on another page.');
  });
  addEventListener('paste', (event) => chooseFile([...event.clipboardData.files]));
  $('use-camera').addEventListener('click', openCamera);
  $('take').addEventListener('click', take);
  $('video').addEventListener('loadeddata', () => ($('take').disabled = false));
  $('cancel').addEventListener('click', closeCamera);
  $('camera').addEventListener('close', closeCamera);
  $('form').addEventListener('submit', translate);
  $('strength').addEventListener('input', draw);
  $('save-overlay').addEventListener('click', saveOverlay);
}

try {
  model = await (await answer('/model')).json();
  fillIn();
  listen();
} catch (error) {
  complain(error.message);
}
