// Each user holds one connection and counts what arrives, for `python -m bench ws_held`.
import { WebSocket } from 'k6/experimental/websockets';
import { Counter } from 'k6/metrics';

const messages = new Counter('messages');

export default function () {
  const socket = new WebSocket(__ENV.TARGET);
  socket.addEventListener('message', () => messages.add(1));
}
