/**
 * Sends one POST and reads at most 16 KB of the answer; redirects are answers like any other, and are not followed.
 * The status decides, however long the answer is or wherever it breaks off, but its end, or its first 16 KB, must come
 * in time. Rejects with SendError where it does not, and where the address is one that webhooks may not reach.
 */
export type Send = (request: SendRequest) => Promise<Answer>;

export type SendRequest = { url: string; headers: Record<string, string>; body: string };
/** `retryAfter` is the header's value. */
export type Answer = { status: number; retryAfter: string | null };

/** How much of an answer's body is read. */
export const MAX_ANSWER_BYTES = 16 * 1024;

/** Why there was no answer. Clients see the message: it is one of a few short texts, and holds nothing internal. */
export class SendError extends Error {
  override readonly name = 'SendError';
}

/** What runtimes call the ways in which a request fails: error codes, or, where they give none, pieces of a message. */
const REASONS: [RegExp, string][] = [
  [/ENOTFOUND|ENODATA|EAI_|dns error/, 'name does not resolve'],
  [/ECONNREFUSED|ConnectionRefused|Connection refused/, 'connection refused'],
  [/ETIMEDOUT|_TIMEOUT|TimeoutError|timed out/, 'timed out'],
  [/CERT|LEAF_SIGNATURE|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|peer certificate/, 'certificate not acceptable'],
  [/EPROTO|ERR_SSL|ERR_TLS|tls handshake/, 'TLS handshake failed'],
  [/ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL/, 'address not reachable'],
  [
    /HPE_|HTTPParserError|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_|invalid HTTP|Malformed/,
    'not an acceptable HTTP answer',
  ],
  [/ECONNRESET|EPIPE|UND_ERR_SOCKET|ConnectionClosed|connection (closed|lost|reset)/i, 'connection closed'],
];

/** Puts a runtime's error in words that clients may see; the error itself stays on as the cause, for the log. */
export function toSendError(error: unknown): SendError {
  if (error instanceof SendError) return error;
  const text = chainOf(error).join('\n');
  const reason = REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? 'connection failed';
  return new SendError(reason, { cause: error });
}

/** Codes alone where there are any: messages quote host names, which may say anything. */
function chainOf(error: unknown): string[] {
  const codes: string[] = [];
  const messages: string[] = [];
  for (
    let at = error;
    at instanceof Error;
    at = at.cause ?? (at instanceof AggregateError ? at.errors[0] : undefined)
  ) {
    if ('code' in at && typeof at.code === 'string') codes.push(at.code);
    messages.push(`${at.name}: ${at.message.replace(/ for url \(\S*\)/, '')}`);
  }
  return codes.length > 0 ? codes : messages;
}

/** Runs `work` with a signal that aborts after `timeoutMs`. Rejects with a SendError, which says what went wrong. */
export async function withinTime<T>(timeoutMs: number, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new SendError('timed out')), timeoutMs);
  try {
    return await work(limit.signal);
  } catch (error) {
    throw toSendError(limit.signal.aborted ? limit.signal.reason : error);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Reads an answer's body, so that the connection can be used again, but no further than is worth it. One that breaks
 * off is taken as far as it came: the status has been read.
 */
export async function readSome({ body }: Response): Promise<string> {
  if (!body) return '';
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  try {
    for (let received = 0; received <= MAX_ANSWER_BYTES; ) {
      const { done, value } = await reader.read();
      if (done) return text;
      received += value.byteLength;
      text += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
  } catch {
    // As above.
  }
  return text;
}
