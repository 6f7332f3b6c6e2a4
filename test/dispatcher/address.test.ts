import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkWebhookUrl, isPublicAddress } from '../../src/dispatcher/channels/address.ts';

const publicAddresses = [
  '8.8.8.8',
  '1.1.1.1',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '168.63.129.17',
  '172.15.255.255',
  '172.32.0.0',
  '223.255.255.255',
  '2606:4700:4700::1111',
  '2a00:1450:4001:82a::200e',
  '::ffff:8.8.8.8',
  '::ffff:808:808',
];

const privateAddresses: [address: string, what: string][] = [
  ['0.0.0.0', 'unspecified'],
  ['0.1.2.3', 'this network'],
  ['10.0.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.1.1', 'private'],
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['169.254.1.1', 'link-local'],
  ['169.254.169.254', 'metadata'],
  ['169.254.170.2', 'metadata of ECS'],
  ['100.64.0.1', 'carrier-grade NAT'],
  ['100.127.255.255', 'carrier-grade NAT'],
  ['100.100.100.200', 'metadata of Alibaba'],
  ['168.63.129.16', 'metadata of Azure'],
  ['192.0.0.192', 'metadata of Oracle'],
  ['192.0.2.1', 'documentation'],
  ['198.51.100.1', 'documentation'],
  ['203.0.113.1', 'documentation'],
  ['198.18.0.1', 'benchmarking'],
  ['198.19.255.255', 'benchmarking'],
  ['192.88.99.1', '6to4 relay'],
  ['224.0.0.1', 'multicast'],
  ['239.255.255.255', 'multicast'],
  ['240.0.0.1', 'reserved'],
  ['255.255.255.255', 'broadcast'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['::127.0.0.1', 'IPv4-compatible'],
  ['::8.8.8.8', 'IPv4-compatible'],
  ['::ffff:127.0.0.1', 'IPv4-mapped'],
  ['::ffff:7f00:1', 'IPv4-mapped'],
  ['::ffff:a9fe:a9fe', 'IPv4-mapped'],
  ['0:0:0:0:0:ffff:10.0.0.1', 'IPv4-mapped'],
  ['::ffff:168.63.129.16', 'IPv4-mapped'],
  ['::ffff:0:127.0.0.1', 'IPv4-translated'],
  ['64:ff9b::7f00:1', 'NAT64'],
  ['64:ff9b::8.8.8.8', 'NAT64'],
  ['64:ff9b:1::1', 'NAT64'],
  ['2002:7f00:1::', '6to4'],
  ['2002:808:808::', '6to4'],
  ['2001::1', 'Teredo'],
  ['2001:0:7f00:1::', 'Teredo'],
  ['2001:2::1', 'benchmarking'],
  ['2001:10::1', 'ORCHID'],
  ['2001:20::1', 'ORCHID'],
  ['2001:db8::1', 'documentation'],
  ['3fff::1', 'documentation'],
  ['fc00::1', 'unique-local'],
  ['fd00:ec2::254', 'metadata of AWS'],
  ['fe80::1', 'link-local'],
  ['fe80::1%eth0', 'link-local with a zone'],
  ['2606:4700:4700::1111%eth0', 'a zone'],
  ['fec0::1', 'site-local'],
  ['ff02::1', 'multicast'],
  ['100::1', 'discard'],
  ['5f00::1', 'segment routing'],
  ['4000::1', 'not given out'],
  ['', 'nothing'],
  ['localhost', 'a name'],
  ['2130706433', 'no usual spelling'],
  ['127.1', 'no usual spelling'],
  ['0x7f.0.0.1', 'no usual spelling'],
  ['010.8.8.8', 'no usual spelling'],
  ['8.8.8', 'no usual spelling'],
  ['8.8.8.8.8', 'no address'],
  ['256.1.1.1', 'no address'],
  ['8.8.8.8 ', 'no address'],
];

test('isPublicAddress: public', () => {
  for (const address of publicAddresses) assert.equal(isPublicAddress(address), true, address);
});

test('isPublicAddress: not public', () => {
  for (const [address, what] of privateAddresses) assert.equal(isPublicAddress(address), false, `${address} (${what})`);
});

const accepted = [
  'https://example.com',
  'https://example.com/hooks?token=a%20b',
  'https://example.com:8443/hooks',
  'https://EXAMPLE.com./hooks',
  'https://8.8.8.8/',
  'https://[2606:4700:4700::1111]/',
  'https://bücher.example/',
  'https://localhost.example.com/',
  'https://mylocalhost.com/',
  'https://internal.example.com/',
  `https://example.com/${'x'.repeat(2028)}`,
];

const host = 'must name a host on the public internet';
const scheme = 'must start with https://';
const spaces = 'must not contain spaces or control characters';
const credentials = 'must not contain a user name or password';
const noUrl = 'must be a URL';

const refused: [url: string, reason: string][] = [
  ['http://example.com/', scheme],
  ['file:///etc/passwd', scheme],
  ['gopher://127.0.0.1:70/_x', scheme],
  ['ftp://example.com/', scheme],
  ['javascript:alert(1)', scheme],
  ['data:text/plain,x', scheme],
  ['ws://example.com/', scheme],
  ['blob:https://example.com/x', scheme],
  ['', noUrl],
  ['example.com', noUrl],
  ['//example.com/', noUrl],
  ['https://', noUrl],
  ['https://?x', noUrl],
  ['https://[::1', noUrl],
  ['https://256.256.256.256/', noUrl],
  ['https://1.2.3.4.5/', noUrl],
  ['https://example.com:99999/', noUrl],
  ['https://exa%00mple.com/', noUrl],
  ['https://user:secret@example.com/', credentials],
  ['https://user@example.com/', credentials],
  ['https://:secret@example.com/', credentials],
  ['https://example.com@127.0.0.1/', credentials],
  ['https://example.com/#part', 'must not have a fragment'],
  ['https://example.com/#', 'must not have a fragment'],
  [' https://example.com/', spaces],
  ['https://example.com/\n', spaces],
  ['https://exam\tple.com/', spaces],
  ['https://example.com/\0', spaces],
  [`https://example.com/${'x'.repeat(2029)}`, 'must be at most 2048 characters'],
  // Loopback, in every spelling that URL understands.
  ['https://127.0.0.1/', host],
  ['https://127.0.0.1./', host],
  ['https://127.1/', host],
  ['https://127.0.1/', host],
  ['https://2130706433/', host],
  ['https://017700000001/', host],
  ['https://0177.0.0.1/', host],
  ['https://0177.0.0.01/', host],
  ['https://0x7f.1/', host],
  ['https://0x7f.0x0.0x0.0x1/', host],
  ['https://0x7f000001/', host],
  ['https://0X7F000001/', host],
  ['https://%31%32%37.0.0.1/', host],
  ['https://１２７.０.０.１/', host],
  ['https://①②⑦.⓪.⓪.①/', host],
  ['https://127。0。0。1/', host],
  ['https://0/', host],
  ['https://0.0.0.0/', host],
  ['https://[::]/', host],
  ['https://[::1]/', host],
  ['https://[0:0:0:0:0:0:0:1]/', host],
  ['https://[::ffff:127.0.0.1]/', host],
  ['https://[::ffff:7f00:1]/', host],
  ['https://[::127.0.0.1]/', host],
  ['https://[64:ff9b::7f00:1]/', host],
  ['https://[2002:7f00:1::]/', host],
  ['https://[fe80::1]/', host],
  ['https://[fc00::1]/', host],
  ['https://[fd00:ec2::254]/', host],
  ['https://10.1.2.3/', host],
  ['https://172.16.0.1/', host],
  ['https://192.168.0.1:8443/', host],
  ['https://100.64.0.1/', host],
  ['https://169.254.169.254/latest/meta-data/', host],
  ['https://2852039166/', host],
  ['https://0xa9fea9fe/', host],
  ['https://168.63.129.16/', host],
  ['https://localhost/', host],
  ['https://LOCALHOST/', host],
  ['https://localhost./', host],
  ['https://localhost../', host],
  ['https://localhost:8443/', host],
  ['https://%6c%6f%63alhost/', host],
  ['https://ｌｏｃａｌｈｏｓｔ/', host],
  ['https://a.localhost/', host],
  ['https://printer.local/', host],
  ['https://localhost.localdomain/', host],
  ['https://router.home.arpa/', host],
  ['https://metadata.google.internal/', host],
  ['https://metadata.google.internal./', host],
  ['https://metadata。google。internal/', host],
  ['https://instance-data/latest/', host],
  ['https://intranet/', host],
  ['https://com./', host],
  ['https:127.0.0.1/', host],
  ['https:\\\\127.0.0.1\\', host],
  ['https://127.0.0.1\\@example.com/', host],
];

test('checkWebhookUrl: accepted', () => {
  for (const url of accepted) assert.equal(checkWebhookUrl(url, { allowPrivate: false }), undefined, url);
});

test('checkWebhookUrl: refused', () => {
  for (const [url, reason] of refused) assert.equal(checkWebhookUrl(url, { allowPrivate: false }), reason, url);
});

test('checkWebhookUrl: private hosts and http, where they are allowed', () => {
  for (const url of [
    'http://localhost:8080/',
    'http://127.0.0.1/',
    'http://[::1]:1/',
    'https://intranet/',
    'http://a.b/',
  ]) {
    assert.equal(checkWebhookUrl(url, { allowPrivate: true }), undefined, url);
  }
  const either = 'must start with http:// or https://';
  for (const url of ['file:///etc/passwd', 'ftp://localhost/', 'javascript:alert(1)']) {
    assert.equal(checkWebhookUrl(url, { allowPrivate: true }), either, url);
  }
  assert.equal(checkWebhookUrl('http://user@localhost/', { allowPrivate: true }), credentials);
});
