@task(timeout=600) # 10 minutes timeout
async def generate_monthly_report(month: int, year: int):
    """Generate monthly sales report"""
    # Query data
    await self.update_progress(10, "Querying sales data...")
    sales = await Sale.filter(
        created_at__gte=datetime(year, month, 1),
        created_at__lt=datetime(year, month + 1, 1)
    ).all()
    await self.update_progress(30, "Aggregating data...")
    # Aggregate
    report_data = {
        'total_sales': sum(s.amount for s in sales),
        'total_count': len(sales),
        'by_category': {},
        'by_day': {}
    }
    await self.update_progress(50, "Generating charts...")
    # Generate charts
    chart_urls = await generate_charts(report_data)
    await self.update_progress(70, "Generating PDF...")
    # Generate PDF
    pdf = await pdf_generator.generate(
        template='monthly_report.html',
        data=report_data,
        charts=chart_urls
    )
    await self.update_progress(90, "Saving report...")
    # Upload PDF
    file_id = await storage.save(pdf, path=f"reports/{year}-{month:02d}.pdf")
    # Create record
    report = await Report.create({
        'month': month,
        'year': year,
        'file_url': storage.url(file_id),
        'data': report_data
    })
    await self.update_progress(100, "Report completed")
    return {'report_id': report.id, 'url': report.file_url}
