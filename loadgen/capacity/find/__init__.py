"""The highest rate at an objective: reads searches and held rates, combines them, and makes the study of them."""
