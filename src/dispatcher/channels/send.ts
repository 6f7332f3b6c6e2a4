/**
 * Sends one POST and reads at most 16 KB of the response. Does not follow redirects. The status counts even if the body
 * is longer or breaks off, but its end, or the first 16 KB, must arrive within the time limit. Rejects with SendError if
 * it does not, and if webhooks may not reach the address.
 */
export type Send = (request: SendRequest) => Promise<Answer>;

export type SendRequest = { url: string; headers: Record<string, string>; body: string };
/** `retryAfter` is the value of the Retry-After header. */
export type Answer = { status: number; retryAfter: string | null };

/** How much of a response body is read. */
export const MAX_ANSWER_BYTES = 16 * 1024;

/** Why there was no response. Clients see the message: it is one of a few short texts, with nothing internal. */
export class SendError extends Error {
  override readonly name = 'SendError';
}

/** Whether a response is a redirect, which is never followed. */
export const isRedirect = (status: number): boolean => status >= 300 && status < 400;

/** The error of an attempt whose response has this status, other than success. */
export const statusError = (status: number): string => (isRedirect(status) ? 'redirect refused' : `HTTP ${status}`);

/** How runtimes report a failed request: by error codes or, if there are none, by parts of a message. */
const REASONS: [RegExp, string][] = [
  [/ENOTFOUND|ENODATA|EAI_|dns error/, 'name does not resolve'],
  [/ECONNREFUSED|ConnectionRefused|Connection refused/, 'connection refused'],
  [/ETIMEDOUT|_TIMEOUT|TimeoutError|timed out/, 'timed out'],
  [/CERT|LEAF_SIGNATURE|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|peer certificate/, 'invalid TLS certificate'],
  [/EPROTO|ERR_SSL|ERR_TLS|tls handshake/, 'TLS handshake failed'],
  [/ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL/, 'address not reachable'],
  [/HPE_|HTTPParserError|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_|invalid HTTP|Malformed/, 'invalid HTTP response'],
  [/ECONNRESET|EPIPE|UND_ERR_SOCKET|ConnectionClosed|connection (closed|lost|reset)/i, 'connection closed'],
];

/** Turns a runtime's error into one that clients may see. The original is its `cause`, for the log. */
export function toSendError(error: unknown): SendError {
  if (error instanceof SendError) return error;
  const text = chainOf(error).join('\n');
  const reason = REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? 'connection failed';
  return new SendError(reason, { cause: error });
}

/** Returns error codes only, if there are any: messages quote host names, which may contain any text. */
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

/** Runs `work` with a signal that aborts after `timeoutMs`. Rejects with a SendError. */
export async function withTimeout<T>(timeoutMs: number, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
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
 * Reads a response body up to 16 KB, so that the connection can be reused. Returns what arrived if the body breaks off:
 * the status is known by then.
 */
export async function readTruncated({ body }: Response): Promise<string> {
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
    // The body broke off.
  }
  return text;
}
