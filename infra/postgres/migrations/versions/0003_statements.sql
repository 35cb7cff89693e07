-- Statements and balances in time.
SELECT 1;
