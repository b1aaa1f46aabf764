// The calls of bench/grpc_calls.py for k6: unary calls, or one stream of COUNT messages (METHOD).
import { check } from 'k6';
import encoding from 'k6/encoding';
import { Client, StatusOK, Stream } from 'k6/net/grpc';

const client = new Client();
client.load([], 'grpc_cart.proto');

export default function () {
  if (__ITER === 0) client.connect(__ENV.TARGET, { plaintext: true });
  if (__ENV.COUNT) {
    const stream = new Stream(client, `shop.v1.Cart/${__ENV.METHOD}`);
    let count = 0;
    stream.on('data', () => { count += 1; });
    stream.on('end', () => check(count, { 'all messages came': (n) => n === Number(__ENV.COUNT) }));
    stream.write({ data: encoding.b64encode(__ENV.COUNT) });
    stream.end();
  } else {
    check(client.invoke('shop.v1.Cart/Get', { data: 'YQ==' }), { 'status is OK': (reply) => reply.status === StatusOK });
  }
}
