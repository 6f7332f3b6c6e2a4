type Pace = { withinMs: number; everyMs: number };

/**
 * Polls /ready every `everyMs` for `withinMs`. Returns undefined once it responds 200, otherwise the last failure: its
 * reason, or why it could not be reached.
 */
export async function untilReady(url: string, { withinMs, everyMs }: Pace): Promise<string | undefined> {
  let last = 'nothing yet';
  for (const end = Date.now() + withinMs; Date.now() < end; ) {
    try {
      const answer = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(5000) });
      if (answer.status === 200) return undefined;
      const { detail } = (await answer.json().catch(() => ({}))) as { detail?: string };
      last = `HTTP ${answer.status}${detail ? `: ${detail}` : ''}`;
    } catch (error) {
      last = (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  return last;
}
