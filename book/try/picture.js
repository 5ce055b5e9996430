// Any picture that the browser reads -> what the network gets: 3 x 32 x 32 numbers from 0 to 1, as infer.py makes them.
// The browser decodes it and turns it upright (EXIF); the other steps are those of utils/image_file.py and of Pillow.
const SIDE = 32, STRIP = 256, WIDEST = 32767;  // pixels: of the result, of rows at a time, and of what a canvas holds

// Pillow's LANCZOS for a line of `length` pixels that becomes SIDE of them: for each the first that counts, and the
// weights from there. To make a line shorter, the filter is as much wider, so that every pixel counts.
function lanczos(length) {
  const scale = length / SIDE, wide = Math.max(scale, 1), sinc = x => x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1;
  return Array.from({length: SIDE}, (_, i) => {
    const center = (i + 0.5) * scale, first = Math.max(Math.floor(center - 3 * wide + 0.5), 0);
    const end = Math.min(Math.floor(center + 3 * wide + 0.5), length);
    const weights = Array.from({length: end - first}, (_, j) => (first + j - center + 0.5) / wide).map(
      x => Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0), total = sum(weights);
    return {first, weights: weights.map(weight => weight / total)};
  });
}

// Lines of `length` pixels (red, green, blue, opacity) -> SIDE pixels each, which go into `out` from line `start` of
// `total` on, with lines and columns exchanged. Such an array rounds to whole numbers from 0 to 255, as Pillow does.
function reduce(lines, length, filter, out, start, total) {
  for (let line = 0; line < lines.length / 4 / length; line++)
    filter.forEach(({first, weights}, i) => {
      for (let color = 0; color < 4; color++) {
        let value = 0;
        for (let j = 0; j < weights.length; j++) value += weights[j] * lines[(line * length + first + j) * 4 + color];
        out[(i * total + start + line) * 4 + color] = value;
      }
    });
}

// A decoded picture -> [3, 32, 32]. Colors are weighted by opacity while it is reduced, then it is laid on white.
function pixelsOf(bitmap) {
  const {width, height} = bitmap;
  const pen = new OffscreenCanvas(width, STRIP).getContext("2d", {willReadFrequently: true}), filter = lanczos(width);
  const columns = new Uint8ClampedArray(SIDE * height * 4), small = new Uint8ClampedArray(SIDE * SIDE * 4);
  for (let top = 0; top < height; top += STRIP) {
    pen.clearRect(0, 0, width, STRIP);
    pen.drawImage(bitmap, 0, -top);
    const strip = pen.getImageData(0, 0, width, Math.min(STRIP, height - top)).data;
    for (let i = 0; i < strip.length; i++) if (i % 4 < 3) strip[i] *= strip[i - i % 4 + 3] / 255;
    reduce(strip, width, filter, columns, top, height);
  }
  reduce(columns, height, lanczos(height), small, 0, SIDE);
  return Float32Array.from({length: 3 * SIDE * SIDE}, (_, i) => {
    const color = Math.floor(i / SIDE / SIDE), pixel = i % (SIDE * SIDE) * 4;
    return Math.min(small[pixel + color] + 255 - small[pixel + 3], 255) / 255;
  });
}

// A file, or the camera's video -> [3, 32, 32]. Errors: a sentence for the reader.
async function read(source, name) {
  const bitmap = await createImageBitmap(source, {colorSpaceConversion: "none"}).catch(() => {
    throw Error(`${name} is no picture that this browser can read: it reads PNG, JPEG, GIF, WebP and BMP.`);
  });
  if (bitmap.width > WIDEST) throw Error(`${name} is ${bitmap.width} pixels wide, more than ${WIDEST}: crop it.`);
  return pixelsOf(bitmap);
}
