import threading

threading.Thread(target=threading.Event().wait, name="sampler", daemon=True).start()
