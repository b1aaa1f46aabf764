// Three of four iterations browse, one buys.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = {
  scenarios: {
    browse: { executor: 'shared-iterations', exec: 'browse', vus: 3, iterations: 30 },
    buy: { executor: 'shared-iterations', exec: 'buy', vus: 1, iterations: 10 },
  },
};

export function browse() {
  http.get(`${BASE}/`);
  http.get(`${BASE}/products`);
}

export function buy() {
  const who = JSON.stringify({ email: 'a@shop.example', password: 'p' });
  const login = http.post(`${BASE}/login`, who, { headers: { 'Content-Type': 'application/json' } });
  http.post(`${BASE}/checkout`, null, { headers: { Authorization: `Bearer ${login.json('token')}` } });
}
