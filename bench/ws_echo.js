// Each user opens one connection, and sends the next message when the echo of the last one is there.
import { WebSocket } from 'k6/experimental/websockets';
import { Counter } from 'k6/metrics';

const echoes = new Counter('echoes');
const times = Number(__ENV.ECHOES);

export default function () {
  const socket = new WebSocket(__ENV.TARGET);
  let left = times;
  socket.addEventListener('open', () => socket.send('{"id": 1, "op": "echo"}'));
  socket.addEventListener('message', () => {
    echoes.add(1);
    left -= 1;
    if (left > 0) socket.send('{"id": 1, "op": "echo"}');
    else socket.close();
  });
}
