from cifra.tasks import chain, group

# Sequential execution (chain)
result = await chain(
    download_file.s(url='https://example.com/data.csv'),
    parse_csv.s(),
    import_contacts.s()
).apply_async()
