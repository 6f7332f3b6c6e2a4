/**
 * The member of `known` that is closest to `name`, ignoring case: within two edits, or one edit for short names,
 * because HOME is not HOST. Takes time in proportion to the length of `name`.
 */
export function nearest(name: string, known: string[]): string | undefined {
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const limit = candidate.length > 4 ? 2 : 1;
    if (Math.abs(candidate.length - name.length) > limit) continue;
    const apart = distance(name.toUpperCase(), candidate);
    if (apart > limit || apart >= least) continue;
    best = candidate;
    least = apart;
  }
  return best;
}

/** The Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] as number) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] as number) + 1, (next[j] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
