// Half of the load on each of two machines. k6 merges no results: each machine has its own.
//
//   k6 run --execution-segment "0:1/2" --execution-segment-sequence "0,1/2,1" distributed.js
//   k6 run --execution-segment "1/2:1" --execution-segment-sequence "0,1/2,1" distributed.js
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 40 };

export default function () {
  http.get(`${BASE}/`);
  http.get(`${BASE}/products`);
}
