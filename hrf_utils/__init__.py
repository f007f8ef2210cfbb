"""Shared helpers of the notebooks; each module's docstring says what it is for.

Ground : settings, files, text, posts, tasks, schema, store, intervals, reports, figures
Make : pipeline
1 Scrape : collecting, sources, x, x_search, bluesky, policies, compliance, watch
2 Label : datasets, labeling, session, widget, store_labels, exchange, agreement; active (A4)
3 Train : splits, training, classifier, network, inference, lean, confidence, cards; study, variants (A2)
4 Performance : evaluation, evidence, behaviour, explain, drift
5 Incidents : places, mentions, gazetteer, dates, merging, incidents, decisions, review, review_widget, store_reviews,
    counts, corroboration, maps, frontpage, exports, store_publish
Archives : scoring, archives, store_archive, engines; growth, benchmark (A1)
The API : api, serving, lookups, store_serving
"""
