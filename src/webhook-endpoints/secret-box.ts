/**
 * Keeps webhook secrets unreadable in the database. What is sealed twice differs; `open` rejects what was sealed with
 * a key that it does not have, or was altered since. `open` is called for every delivery: it must be cheap.
 */
export type SecretBox = {
  seal(text: string): Promise<string>;
  open(sealed: string): Promise<string>;
};
