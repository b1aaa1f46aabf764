// Ask up to three times when the target is overloaded.
import http from 'k6/http';
import { sleep } from 'k6';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 1, iterations: 20 };

export default function () {
  for (let attempt = 0; attempt < 3; attempt++) {
    const reply = http.get(`${BASE}/products`);
    if (reply.status !== 503) {
      break;
    }
    sleep(0.01 * (attempt + 1));
  }
}
