@task
async def import_csv(file_id: UUID):
    """Import contacts from CSV file"""
    file = await FileAttachment.get(file_id)
    # Download file
    content = await storage.download(file.storage_path)
    # Parse CSV
    import csv
    reader = csv.DictReader(content.decode().splitlines())
    rows = list(reader)
    total = len(rows)
    await self.update_progress(0, f"Starting import of {total} rows")
    # Import in batches
    batch_size = 100
    for i in range(0, total, batch_size):
        batch = rows[i:i + batch_size]
        # Import batch
        for row in batch:
            await Contact.create({
                'first_name': row['first_name'],
                'last_name': row['last_name'],
                'email': row['email'],
                'phone': row.get('phone'),
            })
        # Update progress
        progress = (i + len(batch)) / total * 100
        await self.update_progress(
            progress,
            f"Imported {i + len(batch)} of {total} rows"
        )
    return {'imported': total}
