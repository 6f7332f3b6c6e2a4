/** Levels that are indented. What is nested deeper stays at the last one, or a payload of 64 KB would take megabytes. */
const MAX_INDENT = 20;

/**
 * JSON text on lines, indented by two spaces. Only white space differs from the text: numbers and members stay as they
 * were sent, and nesting costs no stack. Text that is no JSON comes back with some white space added.
 */
export function pretty(json: string): string {
  let out = '';
  let depth = 0;
  let inString = false;
  // What is empty stays on its line.
  let isEmpty = false;
  const line = () => `\n${'  '.repeat(Math.max(0, Math.min(depth, MAX_INDENT)))}`;
  for (let i = 0; i < json.length; i++) {
    const char = json[i] as string;
    if (inString) {
      out += char;
      if (char === '\\') out += json[++i] ?? '';
      else if (char === '"') inString = false;
    } else if (char === '}' || char === ']') {
      depth--;
      out += isEmpty ? char : line() + char;
      isEmpty = false;
    } else if (!/\s/.test(char)) {
      if (isEmpty) out += line();
      isEmpty = char === '{' || char === '[';
      inString = char === '"';
      if (isEmpty) depth++;
      out += char;
      if (char === ',') out += line();
      if (char === ':') out += ' ';
    }
  }
  return out;
}

// Control characters that JSON leaves as they are, and what changes the direction of text: pasted into a terminal, the
// first edit the line, and the others show another one.
const HIDDEN = /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

function quoted(text: string): string {
  if (!HIDDEN.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte));
  return `"$(printf %s '${btoa(bytes.join(''))}' | openssl base64 -d -A)"`;
}

/**
 * A shell script that computes a webhook's signature as Standard Webhooks 1.0.0 has it, from the secret that its reader
 * has, and sends the same webhook with it. Needs openssl and curl. Without comments, which zsh runs as commands.
 */
export function verification({ id, payload, url }: { id: string; payload: string; url: string }) {
  return {
    sign: `SECRET='whsec_…'
ID=${quoted(id)}
TIMESTAMP=$(date +%s)
BODY=${quoted(payload)}
KEY=$(printf %s "\${SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')
SIGNATURE=v1,$(printf %s "$ID.$TIMESTAMP.$BODY" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | openssl base64 -A)
echo "webhook-signature: $SIGNATURE"`,
    send: `printf %s "$BODY" | curl -i ${quoted(url)} -H 'content-type: application/json' -H "webhook-id: $ID" \\
  -H "webhook-timestamp: $TIMESTAMP" -H "webhook-signature: $SIGNATURE" --data-binary @-`,
  };
}
