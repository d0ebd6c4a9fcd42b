#include "image/fetch/load.h"

int load_request(const struct fetch_request *request, struct loaded *loaded, struct error *err)
{
        AUTO_LOADED struct loaded new = {0};
        int r = endpoint_list_new(request, &new.endpoints, err);
        if (r == 0 && request->decryption_keys)
                r = keyring_open(request->decryption_keys, &new.keyring, err);
        if (r < 0)
                return r;
        *loaded = new;
        new = (struct loaded){0};
        return 0;
}

void loaded_fini(struct loaded *loaded)
{
        endpoint_list_free(loaded->endpoints);
        keyring_free(loaded->keyring);
}
