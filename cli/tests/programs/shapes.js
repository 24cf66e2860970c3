export let count = 40;
export const area = (side) => side * side;
count += 2;
