Invoices, credit notes and receipts have numbers without gaps, cannot be changed, and are printed as PDF in English and Spanish, with EN 16931 data inside if wanted.
