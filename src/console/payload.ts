/** The maximum indentation level. Deeper nesting stays there: otherwise, a payload of 64 KB could take megabytes. */
const MAX_INDENT = 20;

/**
 * Formats JSON text on lines, indented by two spaces. Only whitespace changes: numbers and members stay as they were
 * sent, and nesting costs no stack. Text that is not JSON comes back with different whitespace.
 */
export function pretty(json: string): string {
  let out = '';
  let depth = 0;
  let inString = false;
  // An empty array or object stays on one line.
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

// Control characters that JSON does not escape, and characters that change the direction of text: pasted into a
// terminal, the former edit the line, and the latter make it look different.
const HIDDEN = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

function quoted(text: string): string {
  if (!HIDDEN.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte));
  return `"$(printf %s '${btoa(bytes.join(''))}' | openssl base64 -d -A)"`;
}

/**
 * Returns shell scripts that compute a webhook's signature as Standard Webhooks 1.0.0 specifies, from the reader's
 * secret, and send the same webhook with it. They need openssl and curl, and have no comments, which zsh would run.
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
    send: `printf %s "$BODY" | curl -g -i ${quoted(url)} -H 'content-type: application/json' -H "webhook-id: $ID" \\
  -H "webhook-timestamp: $TIMESTAMP" -H "webhook-signature: $SIGNATURE" --data-binary @-`,
  };
}
