/** Parses a command's option `--<name>` as a number. The error says what it must be. */
export function wholeNumber(name: string, text: string, min: number, max: number): number {
  if (/^\d{1,10}$/.test(text) && Number(text) >= min && Number(text) <= max) return Number(text);
  throw new Error(`--${name} must be a whole number from ${min} to ${max}`);
}
