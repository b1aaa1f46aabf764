// Log in, read a value from a page, send it back.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const JSON_TYPE = { 'Content-Type': 'application/json' };

export const options = { vus: 4, iterations: 20 };

export default function () {
  const who = JSON.stringify({ email: 'a@shop.example', password: 'p' });
  const login = http.post(`${BASE}/login`, who, { headers: JSON_TYPE });
  const headers = { Authorization: `Bearer ${login.json('token')}`, ...JSON_TYPE };

  const page = http.get(`${BASE}/products/sku-0001`, { tags: { name: 'GET /products/{sku}' } });
  const csrf = page.html().find('input[name=csrf]').attr('value');

  http.post(`${BASE}/cart`, JSON.stringify({ sku: 'sku-0001', csrf: csrf }), { headers });
}
