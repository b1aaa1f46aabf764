"""Anomalies of production: finds in the ledger, answers of people, and sentences for pages."""
