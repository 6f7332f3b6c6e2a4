import type { ChildProcess } from 'node:child_process';

type Message = { act?: string; seq?: number; ack?: number };

/**
 * When `worker` dies, closes connections that were passed to it but not accepted. node:cluster would keep them open,
 * and their clients would wait for ever. Depends on node:cluster's internal messages.
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
