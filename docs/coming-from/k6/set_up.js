// Log in once before the load, use the token everywhere, clean up after it.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = { vus: 4, iterations: 20 };

export function setup() {
  const who = JSON.stringify({ email: 'a@shop.example', password: 'p' });
  const login = http.post(`${BASE}/login`, who, { headers: { 'Content-Type': 'application/json' } });
  return { token: login.json('token') };
}

export default function (data) {
  http.post(`${BASE}/checkout`, null, { headers: { Authorization: `Bearer ${data.token}` } });
}

export function teardown() {
  http.get(`${BASE}/products`);
}
