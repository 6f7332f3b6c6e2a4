import type { ChildProcess } from 'node:child_process';

type Message = { act?: string; seq?: number; ack?: number };

/**
 * Closes, when `worker` dies, the connections that were passed to it and that it had not taken: node:cluster keeps them
 * open and forgets them, so that their clients would wait for ever. Knows node:cluster's own messages.
 */
export function closePassedConnections(worker: ChildProcess): void {
  const passed = new Map<number, { close(): void }>();
  const send = worker.send.bind(worker) as (...values: unknown[]) => boolean;
  worker.send = (message: Message, handle?: unknown, ...others: unknown[]) => {
    const { act, seq } = message;
    if (act === 'newconn' && seq !== undefined && handle) passed.set(seq, handle as { close(): void });
    return send(message, handle, ...others);
  };
  worker.on('internalMessage', ({ ack }: Message) => {
    if (ack !== undefined) passed.delete(ack);
  });
  worker.on('exit', () => {
    for (const connection of passed.values()) connection.close();
  });
}
