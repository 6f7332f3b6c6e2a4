import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** The reply for a name: addresses, of which those of the queried family are sent; an error; or nothing at all. */
type Reply = string[] | 'NXDOMAIN' | 'SERVFAIL' | 'silence';
/** `nth` counts the questions for this name and type, from 1. */
export type Answering = (name: string, type: 'A' | 'AAAA', nth: number) => Reply;

type NameServer = {
  /** In the form that a resolver's `setServers` takes. */
  address: string;
  /** How often each name was asked for, by type: `a.example A` → 2. */
  asked: Map<string, number>;
  close(): void;
};

const TYPES: Record<number, 'A' | 'AAAA'> = { 1: 'A', 28: 'AAAA' };
const CODES = { SERVFAIL: 2, NXDOMAIN: 3 };
const QUERY = 0x0100;
const RESPONSE = 0x8180;
const HEADER_BYTES = 12;

/** Starts a name server on loopback, over UDP, that accepts well-formed A and AAAA questions and nothing else. */
export async function startNameServer(answer: Answering): Promise<NameServer> {
  const socket = createSocket('udp4');
  const asked = new Map<string, number>();
  socket.on('message', (message, { port, address }) => {
    const { name, type, question } = parse(message);
    const key = `${name} ${type}`;
    const nth = (asked.get(key) ?? 0) + 1;
    asked.set(key, nth);
    const reply = answer(name, type, nth);
    if (reply !== 'silence') socket.send(encode(message.readUInt16BE(0), question, type, reply), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return { address: `127.0.0.1:${socket.address().port}`, asked, close: () => socket.close() };
}

function parse(message: Buffer): { name: string; type: 'A' | 'AAAA'; question: Buffer } {
  assert.equal(message.readUInt16BE(2) & ~0x30, QUERY, 'a plain recursive query');
  assert.equal(message.readUInt16BE(4), 1, 'one question');
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    assert.ok(length < 64, 'no compression in a question');
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = TYPES[message.readUInt16BE(at + 1)];
  assert.ok(type, 'A or AAAA');
  assert.equal(message.readUInt16BE(at + 3), 1, 'class IN');
  return { name: labels.join('.').toLowerCase(), type, question: message.subarray(HEADER_BYTES, at + 5) };
}

function encode(id: number, question: Buffer, type: 'A' | 'AAAA', reply: Exclude<Reply, 'silence'>): Buffer {
  const addresses = Array.isArray(reply) ? reply.filter((address) => isIPv4(address) === (type === 'A')) : [];
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(RESPONSE | (typeof reply === 'string' ? CODES[reply] : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  const records = addresses.map((address) => {
    const data = Buffer.from(ipaddr.parse(address).toByteArray());
    // A pointer to the question's name, type, class IN, a TTL of 60 s, and the length of what follows.
    const record = Buffer.from([0xc0, HEADER_BYTES, 0, type === 'A' ? 1 : 28, 0, 1, 0, 0, 0, 60, 0, data.length]);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([header, question, ...records]);
}
