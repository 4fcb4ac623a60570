// A colour for each lesion, the same in the table, the slices and the projection. Okabe and Ito's palette for
// colour-blind readers, without its black.
const PALETTE = [
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [213, 94, 0], [204, 121, 167], [0, 114, 178], [240, 228, 66],
];

export function colour(lesion) {
  return PALETTE[(lesion - 1) % PALETTE.length];
}

export function css(lesion) {
  return `rgb(${colour(lesion).join(" ")})`;
}
