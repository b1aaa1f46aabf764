// Upload a file as a form.
import http from 'k6/http';

const BASE = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const RECEIPT = open('../scenarios/data/receipt.txt', 'b');
const CREATE = 'mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }';

export const options = { vus: 4, iterations: 20 };

export default function () {
  const query = JSON.stringify({ query: CREATE, variables: { name: 'receipts' } });
  const made = http.post(`${BASE}/graphql`, query, { headers: { 'Content-Type': 'application/json' } });
  const url = made.json('data.createImport.uploadUrl');
  const form = { receipt: http.file(RECEIPT, 'receipt.txt', 'text/plain') };
  http.put(`${BASE}${url}`, form, { tags: { name: 'PUT /uploads/{id}' } });
}
