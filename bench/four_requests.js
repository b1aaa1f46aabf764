// The requests and checks of bench/four_requests.py for k6, without its groups: they would cost it more.
import http from 'k6/http';
import { check } from 'k6';

const target = __ENV.TARGET;
const json = { headers: { 'Content-Type': 'application/json' } };

export default function () {
  const ok = { 'status is 200': (reply) => reply.status === 200 };
  const home = http.get(`${target}/`);
  check(home, ok);
  if (__ITER === 0) check(home, { 'protocol is as asked': (reply) => reply.proto === __ENV.PROTOCOL });
  check(http.get(`${target}/json`), { ...ok, 'says ok': (reply) => reply.json().ok === true });
  check(http.post(`${target}/json`, JSON.stringify({ sku: 'sku-0001', quantity: 2 }), json), ok);
  check(http.get(`${target}/1k`), { ...ok, 'is 1 KiB': (reply) => reply.body.length === 1024 });
}
